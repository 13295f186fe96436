"""From an image to its row, and from rows to the table of a part file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pneumonia.data.image import ImageError
from pneumonia.scoring.images import read_bytes
from pneumonia.serving import answers
from pneumonia.serving.errors import image_error

if TYPE_CHECKING:
    import pyarrow as pa

    from pneumonia.serving.served import ServedModel

Row = dict[str, Any]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Scorer:
    """Scores images, each on one core; several threads may share it.

    Attributes:
        model: what answers.
        root: what the images' names begin at.
        maps: whether the rows have the class activation maps.
    """

    model: ServedModel
    root: str
    maps: bool = False

    def rows(self, names: Sequence[str]) -> list[Row]:
        """Score some images; whatever is wrong with one is in its row.

        All are read and judged before the graph sees the first: image by image, each step would find
        the core's caches full of the other's.
        """
        images = [_attempt(name, partial(self._open, name)) for name in names]
        return [
            image if isinstance(image, dict) else _attempt(name, partial(self._answer, name, image))
            for name, image in zip(names, images, strict=True)
        ]

    def _open(self, name: str) -> answers.CheckedImage:
        return answers.read_image(self.model, read_bytes(self.root, name))

    def _answer(self, name: str, image: answers.CheckedImage) -> Row:
        predictor = self.model.predictor
        [logit], [heat_map] = predictor.graph.run(image.pixels[None, ..., None], on_one_core=True)
        found = {"file": name} | answers.figures(predictor.read(image.pixels, logit, heat_map))
        found["warnings"] = [one["code"] for one in image.warnings]
        return found | ({"map": heat_map.tolist()} if self.maps else {})

    def table(self, rows: Iterable[Row]) -> pa.Table:
        """Rows with what they have in common; columns and types: `schema`."""
        import pyarrow as pa

        model = self.model
        common = {
            "threshold": model.predictor.point.threshold,
            "model": model.name,
            "version": model.version,
            "model_sha256": model.predictor.graph.sha256,
        }
        return pa.Table.from_pylist([row | common for row in rows], schema(self.maps))


def schema(maps: bool) -> pa.Schema:
    """The columns of the data set.

    Of an image that was scored `error` and `error_message` are null; of another one all of
    `probability`, `label`, `warnings` and `map` are.
    """
    import pyarrow as pa

    columns = [
        pa.field("file", pa.string(), nullable=False),
        pa.field("probability", pa.float64()),  # of pneumonia, calibrated, 0 to 1
        pa.field("label", pa.string()),  # NORMAL or PNEUMONIA, by the threshold
        pa.field("threshold", pa.float64(), nullable=False),
        pa.field("warnings", pa.list_(pa.string())),  # codes of serving.warnings
        pa.field("error", pa.string()),  # a code
        pa.field("error_message", pa.string()),
        pa.field("model", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("model_sha256", pa.string(), nullable=False),  # of the graph
    ]
    if maps:
        columns.append(pa.field("map", pa.list_(pa.list_(pa.float32()))))
    return pa.schema(columns)


def _attempt(name: str, step: Callable[[], Result]) -> Result | Row:
    """What a step of an image's scoring gives, or the row that says what was wrong."""
    try:
        return step()
    except ImageError as error:
        told = image_error(error)
        return _failed(name, told["code"], told["message"])
    except FileNotFoundError:
        return _failed(name, "missing_file", "there is no such file")
    except OSError as error:
        return _failed(name, "unreadable_file", error.strerror or type(error).__name__)
    except Exception as error:
        # Storages have exceptions of their own, and one image of millions must not stop all.
        return _failed(name, "unexpected", f"{type(error).__name__}: {error}")


def _failed(name: str, code: str, message: str) -> Row:
    return {"file": name, "error": code, "error_message": message}
