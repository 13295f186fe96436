"""Decoding and preparing.

The images are drawn, enlarged to 1.3 megapixels and noisy: JPEG files of 0.45 MB, as in the Kermany
set. This project makes a padded grey square of 224 px. The alternative, a loop with Pillow on one
core, distorts the image to a square. `prepare` also hashes each file, writes a PNG and the
manifest, and starts a process for each core. There are two limits: the decoder of libjpeg-turbo
alone, at the smallest scale with enough pixels for the square; and reading the files from disk, not
from memory.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from benchmarks.measurement import Row, Setting, seconds, take_turns
from benchmarks.originals import DRAWN, originals
from benchmarks.preparing import source
from benchmarks.training import in_new_process
from pneumonia.core.config import load_params
from pneumonia.datasets.prepare import prepare
from pneumonia.datasets.sources import open_source
from pneumonia.images.decoding import DRAFT_MARGIN, decode

SIZE = 224  # px
IMAGES = 400  # in the folder
BATCH = 32


def measure(setting: Setting) -> list[Row]:
    """Single images on one core, then a folder of images on all cores."""
    folder = setting.scratch / "originals"
    files = originals(folder, IMAGES)
    return [*_one_core(files[:DRAWN], setting.turns), *_folder(folder, files, setting)]


def _one_core(files: list[Path], turns: int) -> list[Row]:
    payloads = [file.read_bytes() for file in files]

    def rate(work: Callable[[bytes], object]) -> Callable[[], float]:
        return lambda: len(payloads) / seconds(lambda: [work(payload) for payload in payloads])

    works = {"decode": lambda image: decode(image, SIZE), "Pillow": pillow, "decoder": decoder}
    values = take_turns({name: rate(work) for name, work in works.items()}, turns)
    return [
        Row(
            "an image to its square, one core", "images/s", values["decode"],
            "Pillow, `convert`, `resize`", values["Pillow"], "the decoder", values["decoder"],
        )
    ]  # fmt: skip


def _folder(folder: Path, files: list[Path], setting: Setting) -> list[Row]:
    import keras

    cores = len(os.sched_getaffinity(0))

    def ours() -> float:
        with tempfile.TemporaryDirectory(dir=setting.scratch) as out:
            return len(files) / in_new_process(seconds_of_prepare, folder, Path(out))

    def loop() -> float:
        out = setting.scratch / "squares"
        out.mkdir(exist_ok=True)

        def save() -> None:
            for file in files:
                pillow(file.read_bytes()).save(out / f"{file.stem}.png")

        return len(files) / seconds(save)

    def first_pass() -> float:
        def read_all() -> None:
            dataset = keras.utils.image_dataset_from_directory(
                folder / "train", label_mode="binary", color_mode="grayscale",
                image_size=(SIZE, SIZE), batch_size=BATCH, verbose=False,
            )  # fmt: skip
            for _ in dataset:
                pass

        train = sum("train" in file.parts for file in files)
        return train / seconds(read_all)

    def decoders() -> float:
        with ThreadPoolExecutor(cores) as pool:
            payloads = [file.read_bytes() for file in files[:DRAWN]] * (len(files) // DRAWN)
            return len(payloads) / seconds(lambda: list(pool.map(decoder, payloads)))

    def disk() -> float:
        drawn = files[:DRAWN]
        for file in drawn:
            drop_from_cache(file)
        return len(drawn) / seconds(lambda: [file.read_bytes() for file in drawn])

    functions = {
        "prepare": ours,
        "loop": loop,
        "Keras": first_pass,
        "decoders": decoders,
        "disk": disk,
    }
    values = take_turns(functions, setting.turns)
    task = f"a folder of {len(files)} images"
    return [
        Row(
            task, "images/s", values["prepare"], "a Pillow loop that writes PNG", values["loop"],
            "the decoder, all cores", values["decoders"],
        ),
        Row(
            task, "images/s", values["prepare"],
            "`image_dataset_from_directory`, first pass", values["Keras"],
            "the disk", values["disk"],
        ),
    ]  # fmt: skip


def seconds_of_prepare(folder: Path, out: Path) -> float:
    """Seconds of `prepare` in a process that has not started other processes yet."""
    from joblib.externals.loky import get_reusable_executor

    params = load_params(Path("params.yaml")).prepare
    spent = seconds(lambda: prepare(open_source(source(folder)), params, out))
    # A child process of multiprocessing does not end joblib's workers when it exits; it would wait
    # until they time out.
    get_reusable_executor().shutdown(wait=True)
    return spent


def pillow(payload: bytes) -> Image.Image:
    """Distort an image to a square with Pillow's default filter, as simple scripts do."""
    return Image.open(io.BytesIO(payload)).convert("L").resize((SIZE, SIZE))


def decoder(payload: bytes) -> None:
    """Only decode a JPEG, at the scale that `decode` uses."""
    image = Image.open(io.BytesIO(payload))
    image.draft("L", (DRAFT_MARGIN * SIZE, DRAFT_MARGIN * SIZE))
    image.load()


def drop_from_cache(file: Path) -> None:
    """Drop a file from the page cache, so that the next read comes from the disk."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
