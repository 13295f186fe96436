"""Decoding and preparing.

Drawn images, enlarged to 1.3 megapixels, grainy JPEGs of 0.45 MB as those of the Kermany set. A
square is grey, 224 px, padded; a Pillow loop squashes it, on one core. `prepare` also hashes each
file, writes a PNG and the manifest, and starts a process a core each time. The limits:
libjpeg-turbo's decoder alone, at the scale that leaves enough pixels for the square, and reading
the files from the disk, not from memory.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from benchmarks.images import DRAWN, originals
from benchmarks.preparing import source
from benchmarks.rows import Row, Setting, seconds, take_turns
from benchmarks.training import alone
from pneumonia.core.config import load_params
from pneumonia.datasets.prepare import prepare
from pneumonia.datasets.sources import open_source
from pneumonia.images.decoding import DRAFT_MARGIN, decode

SIZE = 224  # px
IMAGES = 400  # in the folder
BATCH = 32


def measure(setting: Setting) -> list[Row]:
    """Single images on one core, then a folder of them on all cores."""
    folder = setting.scratch / "originals"
    files = originals(folder, IMAGES)
    return [*_one_core(files[:DRAWN], setting.turns), *_folder(folder, files, setting)]


def _one_core(files: list[Path], turns: int) -> list[Row]:
    payloads = [file.read_bytes() for file in files]

    def rate(work: Callable[[bytes], object]) -> Callable[[], float]:
        return lambda: len(payloads) / seconds(lambda: [work(payload) for payload in payloads])

    ways = {"decode": lambda image: decode(image, SIZE), "Pillow": pillow, "decoder": decoder}
    found = take_turns({name: rate(way) for name, way in ways.items()}, turns)
    return [
        Row(
            "an image to its square, one core", "images/s", found["decode"],
            "Pillow, `convert`, `resize`", found["Pillow"], "the decoder", found["decoder"],
        )
    ]  # fmt: skip


def _folder(folder: Path, files: list[Path], setting: Setting) -> list[Row]:
    import keras

    cores = len(os.sched_getaffinity(0))

    def ours() -> float:
        with tempfile.TemporaryDirectory(dir=setting.scratch) as out:
            return len(files) / alone(prepared, folder, Path(out))

    def loop() -> float:
        out = setting.scratch / "squares"
        out.mkdir(exist_ok=True)

        def save() -> None:
            for file in files:
                pillow(file.read_bytes()).save(out / f"{file.stem}.png")

        return len(files) / seconds(save)

    def first_pass() -> float:
        def go_through() -> None:
            dataset = keras.utils.image_dataset_from_directory(
                folder / "train", label_mode="binary", color_mode="grayscale",
                image_size=(SIZE, SIZE), batch_size=BATCH, verbose=False,
            )  # fmt: skip
            for _ in dataset:
                pass

        train = sum("train" in file.parts for file in files)
        return train / seconds(go_through)

    def decoders() -> float:
        with ThreadPoolExecutor(cores) as pool:
            payloads = [file.read_bytes() for file in files[:DRAWN]] * (len(files) // DRAWN)
            return len(payloads) / seconds(lambda: list(pool.map(decoder, payloads)))

    def disk() -> float:
        drawn = files[:DRAWN]
        for file in drawn:
            forget(file)
        return len(drawn) / seconds(lambda: [file.read_bytes() for file in drawn])

    ways = {"prepare": ours, "loop": loop, "Keras": first_pass, "decoders": decoders, "disk": disk}
    found = take_turns(ways, setting.turns)
    what = f"a folder of {len(files)} images"
    return [
        Row(
            what, "images/s", found["prepare"], "a Pillow loop that writes PNG", found["loop"],
            "the decoder, all cores", found["decoders"],
        ),
        Row(
            what, "images/s", found["prepare"],
            "`image_dataset_from_directory`, first pass", found["Keras"],
            "the disk", found["disk"],
        ),
    ]  # fmt: skip


def prepared(folder: Path, out: Path) -> float:
    """Seconds that `prepare` takes in a process that has not started any others yet."""
    from joblib.externals.loky import get_reusable_executor

    params = load_params(Path("params.yaml")).prepare
    took = seconds(lambda: prepare(open_source(source(folder)), params, out))
    # A child of multiprocessing leaves without what would end them, and waits for their patience.
    get_reusable_executor().shutdown(wait=True)
    return took


def pillow(payload: bytes) -> Image.Image:
    """What a loop does with an image: squashed, Pillow's own choice of a filter."""
    return Image.open(io.BytesIO(payload)).convert("L").resize((SIZE, SIZE))


def decoder(payload: bytes) -> None:
    """Decode an image's JPEG at the scale that `decode` takes, and no more."""
    image = Image.open(io.BytesIO(payload))
    image.draft("L", (DRAFT_MARGIN * SIZE, DRAFT_MARGIN * SIZE))
    image.load()


def forget(file: Path) -> None:
    """Drop a file's pages from memory, so that the next reading is the disk's."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
