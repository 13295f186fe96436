"""YAML files checked against a schema, and the schema of `params.yaml`.

Every stage checks the whole file first. `params.yaml` explains each param; this module has the
types and the ranges.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from pneumonia.core.errors import InputError


class _Loader(yaml.SafeLoader):
    """PyYAML's loader with one change: 1e-3 is a number, as in YAML 1.2 and for DVC."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


class Block(BaseModel):
    """A block of a file: unknown keys are refused, and values are not converted to another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


B = TypeVar("B", bound=Block)


def load(path: Path, schema: type[B]) -> B:
    """Read a YAML file and check it.

    Raises:
        InputError: each problem is one line: file, line number, key, reason and a similar key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=_Loader)
        values = read_value(text)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run from the repository's root") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    try:
        return schema.model_validate(values if values is not None else {})
    except ValidationError as error:
        lines = [f"{path}:{_line(tree, keys)}: {text}" for keys, text in _problems(schema, error)]
        raise InputError("\n".join(lines)) from None


def read_value(text: str) -> Any:
    """Parse a YAML value as in a params file."""
    return yaml.load(text, Loader=_Loader)  # nosec B506 # a SafeLoader


def changed(block: B, values: Mapping[str, Any]) -> B:
    """Replace values of a checked block, by dotted key; errors as in `load`, but without file."""
    tree = block.model_dump()
    for key, value in values.items():
        *parents, last = key.split(".")
        place = tree
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                place[parent] = {}  # there is no such block: the check below reports the key
            place = place[parent]
        place[last] = value
    schema = type(block)
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        raise InputError("\n".join(text for _, text in _problems(schema, error))) from None


def line(path: Path, keys: list[str]) -> int:
    """The line number, from 1, of a key in a YAML file, or of its nearest parent in the file."""
    return _line(yaml.compose(path.read_text(encoding="utf-8"), Loader=_Loader), keys)


def _problems(schema: type[Block], error: ValidationError) -> Iterator[tuple[list[str], str]]:
    """The keys and the description of each problem."""
    for problem in error.errors():
        keys = [str(key) for key in problem["loc"]]
        message = problem["msg"]
        text = f"{message[0].lower()}{message[1:]}, not {problem['input']!r}"
        if problem["type"] == "missing":
            text = "missing"
        elif problem["type"] == "extra_forbidden":
            known = _known_keys(schema, keys[:-1])
            near = difflib.get_close_matches(keys[-1], known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
            text = f"unknown key; {hint}"
        yield keys, f"{'.'.join(keys) or 'the file'}: {text}"


def _known_keys(schema: type[BaseModel], keys: list[str]) -> list[str]:
    kind: Any = schema
    for key in keys:
        # `key` names a param of a block; in a `dict` of blocks, it is a name that the user chose.
        kind = get_args(kind)[1] if get_origin(kind) is dict else kind.model_fields[key].annotation
    return list(kind.model_fields)


def _line(node: yaml.Node | None, keys: list[str]) -> int:
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


Seed = Annotated[int, Field(ge=0, lt=2**31)]
Fraction = Annotated[float, Field(ge=0, le=0.5)]
HeldOut = Annotated[float, Field(ge=0.05, le=0.5)]
Precision = Literal["float32", "bfloat16"]

_NUMBER = r"\d+(?:\.\d+)?"
# params.yaml explains the rules.
THRESHOLD_RULE = re.compile(
    rf"youden|sensitivity>=(?P<sensitivity>{_NUMBER})"
    rf"|cost (?P<missed>{_NUMBER}):(?P<alarm>{_NUMBER})"
)


class PhantomParams(Block):
    """The synthetic data set."""

    images: int = Field(ge=40, le=100_000)
    seed: Seed


class MedmnistParams(Block):
    """The PneumoniaMNIST file to download."""

    size: Literal[28, 64, 128, 224]


def _with_patient(pattern: str) -> str:
    """Accept only a regular expression with a group `patient`, or "" for no pattern."""
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise PydanticCustomError(
            "pattern", "No regular expression ({reason})", {"reason": str(error)}
        ) from None
    if pattern and "patient" not in groups:
        raise PydanticCustomError("pattern", "Input should have a group (?P<patient>...)")
    return pattern


class DataParams(Block):
    """Where the images come from."""

    # Each source is a module in pneumonia.datasets.sources.
    source: Literal["phantom", "folder", "kaggle", "medmnist", "table"]
    path: str = Field(min_length=1)
    patient_pattern: Annotated[str, AfterValidator(_with_patient)]
    patient_csv: str
    medmnist: MedmnistParams
    phantom: PhantomParams


class PrepareParams(Block):
    """How images are decoded and split."""

    size: int = Field(ge=32, le=1024)
    on_bad_image: Literal["fail", "quarantine"]
    official_test: bool
    test: HeldOut
    validation: HeldOut
    seed: Seed


class VisualizeParams(Block):
    """The audit of the data and its figures."""

    images_per_class: int = Field(ge=1, le=24)
    near_duplicate_distance: int = Field(ge=0, le=64)
    bootstrap: int = Field(ge=100, le=100_000)
    seed: Seed


class AugmentParams(Block):
    """Random changes of a training image; see `pneumonia.models.augmentation`."""

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


class TrainingParams(Block):
    """The params that the trainings of both networks have in common."""

    seed: Seed
    batch_size: int = Field(ge=1, le=1024)
    learning_rate: float = Field(gt=0, le=1)
    weight_decay: float = Field(ge=0, le=1)
    label_smoothing: float = Field(ge=0, le=0.4)
    ema_decay: float = Field(ge=0, lt=1)
    balance: Literal["none", "weights", "sampling"]
    precision: Precision
    second_seed_epochs: int = Field(ge=1, le=500)


class ScratchParams(TrainingParams):
    """The network trained from random weights."""

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


def _threshold_rule(rule: str) -> str:
    """Accept only a known rule, with a sensitivity in (0, 1] or costs above 0."""
    match = THRESHOLD_RULE.fullmatch(rule)
    if not match:
        raise PydanticCustomError(
            "threshold", "Input should be youden, sensitivity>=0.95 or cost 5:1 (any numbers)"
        )
    if not 0 < float(match["sensitivity"] or 1) <= 1:
        raise PydanticCustomError("threshold", "The sensitivity should be above 0 and at most 1")
    if not min(float(match["missed"] or 1), float(match["alarm"] or 1)) > 0:
        raise PydanticCustomError("threshold", "Both costs should be above 0")
    return rule


class EvaluateParams(Block):
    """How models are scored on validation and test."""

    threshold: Annotated[str, AfterValidator(_threshold_rule)]
    calibration: Literal["platt", "temperature", "none"]
    bootstrap: int = Field(ge=100, le=100_000)
    shift_images: int = Field(ge=20, le=1_000_000)
    seed: Seed


class LayerParams(Block):
    """The Keras name of the layer that Grad-CAM explains, by model."""

    scratch: str = Field(min_length=1)
    transfer: str = Field(min_length=1)


class GradcamReportParams(Block):
    """The report on heat maps."""

    method: Literal["gradcam", "gradcam++", "hirescam"]
    layer: LayerParams
    flips: bool
    images_per_group: int = Field(ge=1, le=24)
    opacity: float = Field(ge=0.1, le=1)
    check_images: int = Field(ge=10, le=1_000_000)
    randomisations: int = Field(ge=1, le=1000)
    max_rank_correlation: float = Field(gt=0, le=1)
    seed: Seed


class PromotionParams(Block):
    """When a new version becomes champion; see `pneumonia.registry.promotion`."""

    margin: Fraction
    level: float = Field(ge=0.5, lt=1)
    require_behaviour: bool


class RegisterParams(Block):
    """Registration and promotion."""

    registered_model: str = Field(min_length=1, pattern=r"^[a-z0-9][a-z0-9._-]*$")
    promotion: PromotionParams


class EngineParams(Block):
    """Where stages run. This does not change their outputs, so no stage depends on this block."""

    prepare: Literal["local", "ray"]
    ray_address: str = Field(min_length=1)


with warnings.catch_warnings():
    # `register` is also a method of abstract classes; no code here calls that method.
    warnings.filterwarnings("ignore", message='Field name "register"')

    class Params(Block):
        """The whole of `params.yaml`."""

        data: DataParams
        prepare: PrepareParams
        visualize: VisualizeParams
        augment: AugmentParams
        train_scratch: ScratchParams
        train_transfer: TransferParams
        evaluate: EvaluateParams
        gradcam_report: GradcamReportParams
        # Without Field(...) the inherited method would count as a default value.
        register: RegisterParams = Field(...)
        engine: EngineParams


def load_params(path: Path) -> Params:
    """Read and check a params file; it raises the same errors as `load`."""
    return load(path, Params)
