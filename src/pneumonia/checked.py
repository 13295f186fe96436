"""YAML files with a schema, and the messages for whoever mistypes them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pneumonia.errors import InputError


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, reading 1e-3 as the number that DVC (YAML 1.2) takes it for."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


class Block(BaseModel):
    """A block of such a file: nothing but its keys, and no value that is nearly of their type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


B = TypeVar("B", bound=Block)


def load(path: Path, schema: type[B]) -> B:
    """Read a YAML file and check it.

    Raises:
        InputError: one line a problem, with the key, its line in the file, what is wrong, and for
            an unknown key the nearest known one.
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
        problems = [
            f"{path}:{_line(tree, keys)}: {_describe(schema, keys, problem)}"
            for keys, problem in _problems(error)
        ]
        raise InputError("\n".join(problems)) from None


def read_value(text: str) -> Any:
    """A value from YAML, as in a params file."""
    return yaml.load(text, Loader=_Loader)  # nosec B506 # a SafeLoader


def changed(block: B, values: Mapping[str, Any]) -> B:
    """A checked block with other values, by dotted key.

    Raises:
        InputError: one line a problem, as of `load` without file and line.
    """
    tree = block.model_dump()
    for key, value in values.items():
        *parents, last = key.split(".")
        place = tree
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                place[parent] = {}  # no block: what is said of it names the key
            place = place[parent]
        place[last] = value
    schema = type(block)
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        problems = [_describe(schema, keys, problem) for keys, problem in _problems(error)]
        raise InputError("\n".join(problems)) from None


def line(path: Path, keys: list[str]) -> int:
    """Line, from 1, of the deepest of `keys` that a YAML file has."""
    return _line(yaml.compose(path.read_text(encoding="utf-8"), Loader=_Loader), keys)


def _problems(error: ValidationError) -> Iterator[tuple[list[str], dict[str, Any]]]:
    for problem in error.errors():
        yield [str(key) for key in problem["loc"]], dict(problem)


def _describe(schema: type[BaseModel], keys: list[str], problem: dict[str, Any]) -> str:
    place = ".".join(keys) or "the file"
    match problem["type"]:
        case "extra_forbidden":
            known = _known_keys(schema, keys[:-1])
            near = difflib.get_close_matches(keys[-1], known, n=1, cutoff=0.5)
            mend = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
            return f"{place}: unknown key; {mend}"
        case "missing":
            return f"{place}: missing"
        case _:
            message = problem["msg"]
            return f"{place}: {message[0].lower()}{message[1:]}, not {problem['input']!r}"


def _known_keys(schema: type[BaseModel], keys: list[str]) -> list[str]:
    kind: Any = schema
    for key in keys:
        # A block of its own, or a mapping from names of the user's to blocks of one kind.
        kind = get_args(kind)[1] if get_origin(kind) is dict else kind.model_fields[key].annotation
    return list(kind.model_fields)


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
