"""The schema of `params.yaml` and the messages for whoever mistypes it.

Every stage checks the whole file before it does anything. Reference for the meaning of each knob is
`params.yaml` itself; this module holds the types and the ranges.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from pneumonia.errors import InputError

Seed = Annotated[int, Field(ge=0, lt=2**31)]
Fraction = Annotated[float, Field(ge=0, le=0.5)]
HeldOut = Annotated[float, Field(ge=0.05, le=0.5)]
Precision = Literal["float32", "bfloat16"]

_NUMBER = r"\d+(?:\.\d+)?"
# What the rules mean: `pneumonia.evaluation.threshold`.
THRESHOLD_RULE = re.compile(
    rf"youden|sensitivity>=(?P<sensitivity>{_NUMBER})"
    rf"|cost (?P<missed>{_NUMBER}):(?P<alarm>{_NUMBER})"
)


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, reading 1e-3 as the number that DVC (YAML 1.2) takes it for."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PhantomParams(_Block):
    """The drawn data set."""

    films: int = Field(ge=40, le=100_000)
    seed: Seed


class MedmnistParams(_Block):
    """The PneumoniaMNIST file to download."""

    size: Literal[28, 64, 128, 224]


def _with_patient(pattern: str) -> str:
    """Refuse what is no regular expression with a group `patient`; "" is none."""
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise PydanticCustomError(
            "pattern", "No regular expression ({reason})", {"reason": str(error)}
        ) from None
    if pattern and "patient" not in groups:
        raise PydanticCustomError("pattern", "Input should have a group (?P<patient>...)")
    return pattern


class DataParams(_Block):
    """Where the films come from."""

    # Each a module in pneumonia.data.sources.
    source: Literal["phantom", "folder", "kaggle", "medmnist", "dicom"]
    path: str = Field(min_length=1)
    patient_pattern: Annotated[str, AfterValidator(_with_patient)]
    patient_csv: str
    medmnist: MedmnistParams
    phantom: PhantomParams


class PrepareParams(_Block):
    """Decoding and splitting."""

    size: int = Field(ge=32, le=1024)
    on_bad_image: Literal["fail", "quarantine"]
    official_test: bool
    test: HeldOut
    validation: HeldOut
    seed: Seed


class VisualizeParams(_Block):
    """The look at the data."""

    films_per_class: int = Field(ge=1, le=24)
    near_duplicate_distance: int = Field(ge=0, le=64)
    bootstrap: int = Field(ge=100, le=100_000)
    seed: Seed


class AugmentParams(_Block):
    """Random changes to a training film; see `pneumonia.models.augment`."""

    plain: float = Field(ge=0, lt=1)
    rotation: float = Field(ge=0, le=45)
    zoom: Fraction
    aspect: float = Field(ge=0, le=1)
    shift: Fraction
    contrast: float = Field(ge=0, le=1)
    brightness: Fraction
    gamma: float = Field(ge=0, le=1)
    blur: float = Field(ge=0, le=1)
    noise: float = Field(ge=0, le=0.2)
    collimator: Fraction


class TrainingParams(_Block):
    """What both networks' training has in common."""

    seed: Seed
    batch_size: int = Field(ge=1, le=1024)
    learning_rate: float = Field(gt=0, le=1)
    weight_decay: float = Field(ge=0, le=1)
    label_smoothing: float = Field(ge=0, le=0.4)
    average: float = Field(ge=0, lt=1)
    balance: Literal["none", "weights", "sampling"]
    precision: Precision
    second_seed_epochs: int = Field(ge=1, le=500)
    augment: AugmentParams


class ScratchParams(TrainingParams):
    """The network trained from nothing."""

    widths: list[Annotated[int, Field(ge=4, le=1024)]] = Field(min_length=1, max_length=6)
    epochs: int = Field(ge=1, le=500)


class TransferParams(TrainingParams):
    """The network on an ImageNet backbone."""

    backbone: str = Field(min_length=1)
    weights: str = Field(min_length=1)
    output_stride: Literal[8, 16, 32]
    head_l2: float = Field(gt=0, le=10)
    fine_tune_blocks: int = Field(ge=0, le=1000)
    schedule: Literal["full", "gradual"]
    layer_decay: float = Field(gt=0, le=1)
    epochs: int = Field(ge=0, le=500)


class PromotionParams(_Block):
    """When a new version becomes champion; see `pneumonia.tracking.promotion`."""

    margin: Fraction
    level: float = Field(ge=0.5, lt=1)


def _threshold_rule(rule: str) -> str:
    """Refuse what is no rule, a sensitivity that is not above 0 to 1, and a cost of 0."""
    found = THRESHOLD_RULE.fullmatch(rule)
    if not found:
        raise PydanticCustomError(
            "threshold", "Input should be youden, sensitivity>=0.95 or cost 5:1 (any numbers)"
        )
    if not 0 < float(found["sensitivity"] or 1) <= 1:
        raise PydanticCustomError("threshold", "The sensitivity should be above 0 and at most 1")
    if not min(float(found["missed"] or 1), float(found["alarm"] or 1)) > 0:
        raise PydanticCustomError("threshold", "Both costs should be above 0")
    return rule


class EvaluateParams(_Block):
    """Scoring and registration."""

    registered_model: str = Field(min_length=1, pattern=r"^[a-z0-9][a-z0-9._-]*$")
    threshold: Annotated[str, AfterValidator(_threshold_rule)]
    calibration: Literal["platt", "temperature", "none"]
    bootstrap: int = Field(ge=100, le=100_000)
    shift_films: int = Field(ge=20, le=1_000_000)
    promotion: PromotionParams
    seed: Seed


class LayerParams(_Block):
    """Keras' name of the layer whose activations are looked at, by model."""

    scratch: str = Field(min_length=1)
    transfer: str = Field(min_length=1)


class GradcamReportParams(_Block):
    """The report on heat maps."""

    method: Literal["gradcam", "gradcam++", "hirescam"]
    layer: LayerParams
    flips: bool
    films_per_group: int = Field(ge=1, le=24)
    opacity: float = Field(ge=0.1, le=1)
    check_films: int = Field(ge=10, le=1_000_000)
    randomisations: int = Field(ge=1, le=1000)
    max_rank_correlation: float = Field(gt=0, le=1)
    seed: Seed


class EngineParams(_Block):
    """What stages run on. Nothing of it changes what they write, so none depends on it."""

    prepare: Literal["local", "ray"]
    ray_address: str = Field(min_length=1)


class Params(_Block):
    """The whole of `params.yaml`."""

    data: DataParams
    prepare: PrepareParams
    visualize: VisualizeParams
    train_scratch: ScratchParams
    train_transfer: TransferParams
    evaluate: EvaluateParams
    gradcam_report: GradcamReportParams
    engine: EngineParams


def load_params(path: Path) -> Params:
    """Read and check a params file.

    Raises:
        InputError: one line a problem, with the key, its line in the file, what is wrong, and for
            an unknown key the nearest known one.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=_Loader)
        values = yaml.load(text, Loader=_Loader)  # nosec B506 # a SafeLoader
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run from the repository's root") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    try:
        return Params.model_validate(values if values is not None else {})
    except ValidationError as error:
        problems = [_describe(path, tree, dict(problem)) for problem in error.errors()]
        raise InputError("\n".join(problems)) from None


def _describe(path: Path, tree: yaml.Node | None, problem: dict[str, Any]) -> str:
    keys = [str(key) for key in problem["loc"]]
    place = f"{path}:{_line(tree, keys)}: {'.'.join(keys) or 'the file'}"
    match problem["type"]:
        case "extra_forbidden":
            known = _known_keys(keys[:-1])
            near = difflib.get_close_matches(keys[-1], known, n=1, cutoff=0.5)
            mend = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
            return f"{place}: unknown key; {mend}"
        case "missing":
            return f"{place}: missing"
        case _:
            message = problem["msg"]
            return f"{place}: {message[0].lower()}{message[1:]}, not {problem['input']!r}"


def _known_keys(keys: list[str]) -> list[str]:
    block: type[BaseModel] = Params
    for key in keys:
        block = block.model_fields[key].annotation  # type: ignore[assignment]
    return list(block.model_fields)


def _line(node: yaml.Node | None, keys: list[str]) -> int:
    """Line of the deepest of `keys` that the file has, from 1."""
    line = 1
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            entry = next((pair for pair in node.value if pair[0].value == key), None)
            if entry is None:
                break
            line, node = entry[0].start_mark.line + 1, entry[1]
        elif isinstance(node, yaml.SequenceNode):
            node = node.value[int(key)]
            line = node.start_mark.line + 1
    return line
