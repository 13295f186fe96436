"""What the page of `evaluate` shows of the images that were decided wrongly."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
from PIL import Image

from pneumonia.data.image import read_grey
from pneumonia.data.manifest import image_path
from pneumonia.reporting.evaluation_tables import errors_table, probability_text
from pneumonia.reporting.page import Section, Thumbnail
from pneumonia.reporting.results import Results

SHOWN = 12  # images a model
SIDE = 192  # px


def sections(results: Results) -> list[Section]:
    """The sections on errors: counts by attribute, and the most confident ones with their images."""
    found = [
        Section(
            "Errors",
            [
                "Where the models go wrong at their operating points. An attribute of the file "
                "that changes the error rate, such as its size, hints at a shortcut; groups are "
                "small, so read the intervals."
            ],
            errors_table(results, results.models),
        )
    ]
    for model in results.models:
        rows = results.confident_errors[results.confident_errors["model"] == model]
        images = [_image(row, results.points[model]["threshold"], results.images)
                 for _, row in rows.head(SHOWN).iterrows()]  # fmt: skip
        found.append(
            Section(
                f"Most confident errors of {model}",
                [_in_words(results.curves["confusion"][model], len(images))],
                images=images,
                level=3,
            )
        )
    return found


def _in_words(decisions: pd.DataFrame, shown: int) -> str:
    wrong = decisions[decisions["actual"] != decisions["predicted"]]
    if wrong.empty:
        return f"None of the {len(decisions):,} test images is decided wrongly."
    missed = int((wrong["actual"] == "PNEUMONIA").sum())
    how = "All are shown" if shown == len(wrong) else f"The {shown} most confident are shown"
    return (
        f"{len(wrong):,} of {len(decisions):,} test images are decided wrongly: {missed:,} missed, "
        f"{len(wrong) - missed:,} false alarms. {how}, the most confident first."
    )


def _image(row: pd.Series, threshold: float, folder: Path) -> Thumbnail:
    probability = probability_text(float(row["probability"]))
    name, kind = str(row["image_id"])[:8], str(row["subtype"])
    sick = "normal image" if kind == "normal" else f"pneumonia ({kind})"
    return Thumbnail(
        thumbnail(image_path(folder, str(row["image_id"]))),
        f"Chest X-ray {name}, {row['error']}: {sick}, probability {probability}",
        [
            f"{row['error']}: {kind}",
            f"probability {probability}",
            f"{'<' if row['error'] == 'missed' else '≥'} threshold {threshold:.3f}",
            f"size {row['size']}",
            f"aspect {row['aspect']}, {row['mode']}",
            f"image {name}",
        ],
    )


def thumbnail(path: Path) -> bytes:
    """A prepared image as a PNG of `SIDE` px, without metadata."""
    image = Image.fromarray(read_grey(path)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
