"""The parts of the reference that are read from the code, as Markdown for MyST."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import yaml
from pydantic import BaseModel

from pneumonia.core.config import Params

if TYPE_CHECKING:
    from fastapi import FastAPI

ROOT = Path(__file__).parents[1]
_PLACE = re.compile(r"<!-- generated: (\w+)(?: (\w+))? -->")
_RST = "```{{eval-rst}}\n.. automodule:: {}\n   :members:\n   :ignore-module-all:\n```\n"
_COMMENT = re.compile(r"(?:^|\s)# ?(?P<text>.*)$")
_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
_LENGTHS = {"minItems": "at least", "maxItems": "at most"}


def fill(text: str) -> str:
    """A page with every `<!-- generated: NAME ARGUMENT -->` replaced by what it names."""
    makers: dict[str, Callable[..., str]] = {
        "params": params,
        "commands": commands,
        "rest": rest,
        "modules": modules,
    }
    return _PLACE.sub(lambda found: makers[found[1]](*filter(None, [found[2]])), text)


def params() -> str:
    """Every knob: name, value as shipped, what is allowed (from the schema), what it does.

    What it does is the comment in params.yaml; where that is the same for both networks, the one of
    the first.
    """
    told = dict(_comments((ROOT / "params.yaml").read_text(encoding="utf-8")))
    schema = Params.model_json_schema()
    parts = []
    for block, field in Params.model_fields.items():
        kind = field.annotation
        assert isinstance(kind, type) and issubclass(kind, BaseModel)
        parts.append(f"## {block}\n\n{kind.__doc__}\n")
        for name, allowed in _knobs(schema, schema["properties"][block], block):
            value = _value(name)
            meaning = told[name]
            if not meaning or meaning.startswith("as above"):
                meaning = told[name.replace("train_transfer", "train_scratch")]
            shipped = f"`{value}`" if value != "" else "empty"
            parts.append(f"`{name}`\n: {shipped}; {_escaped(allowed)}\n: {meaning}\n")
    return "\n".join(parts)


def commands() -> str:
    """The help of every command, as it prints it."""
    pneumonia = [sys.executable, "-m", "pneumonia"]
    overview = _help(pneumonia)
    parts = [_section("pneumonia", overview)]
    for name in re.findall(r"^    ([\w-]+)  ", overview, re.MULTILINE):
        parts.append(_section(f"pneumonia {name}", _help([*pneumonia, name])))
    for module in ("pneumonia.registry.champion", "pneumonia.server.app"):
        parts.append(_section(f"python -m {module}", _help([sys.executable, "-m", module])))
    for stage in sorted((ROOT / "stages").glob("*.py")):
        if stage.stem in Params.model_fields:
            name = f"stages/{stage.name}"
            parts.append(_section(f"python {name}", _help([sys.executable, name])))
    return "\n".join(parts)


def rest() -> str:
    """The routes and what they answer, from the OpenAPI description."""
    described = _described()
    parts = []
    for path, methods in described["paths"].items():
        for method, told in methods.items():
            parts.append(f"## {method.upper()} {path}\n")
            parts += [f"{told[key]}\n" for key in ("summary", "description") if told.get(key)]
            for one in told.get("parameters", []):
                parts.append(f"`{one['name']}` ({one['in']})\n: {one.get('description', '')}\n")
            if "requestBody" in told:
                kinds = ", ".join(f"`{kind}`" for kind in told["requestBody"]["content"])
                parts.append(f"Body: {kinds}\n")
            parts.append("| status | | body |\n| --- | --- | --- |")
            for status, answer in told["responses"].items():
                bodies = ", ".join(_bodies(answer)) or "-"
                parts.append(f"| {status} | {answer['description']} | {bodies} |")
            parts.append("")
    parts.append("## Bodies\n")
    for name, schema in described["components"]["schemas"].items():
        parts.append(f"### {name}\n\n{schema.get('description', '')}\n")
        for field, told in schema.get("properties", {}).items():
            parts.append(f"`{field}`\n: {_type(told)}\n: {told.get('description', '')}\n")
    return "\n".join(parts)


def modules(room: str) -> str:
    """What the docstrings of one room of the package say; `room` is "core" for what has none."""
    package = ROOT / "src/pneumonia"
    files = package.glob("[!_]*.py") if room == "core" else (package / room).rglob("[!_]*.py")
    parts = []
    for file in sorted(files):
        name = ".".join(("pneumonia", *file.relative_to(package).with_suffix("").parts))
        parts.append(f"## {name}\n\n{_RST.format(name)}")
    return "\n".join(parts)


def _comments(text: str) -> Iterator[tuple[str, str]]:
    """Each knob of a params file, by its dotted name, and the comment beside and below it."""
    lines = text.splitlines()
    starts = {node.start_mark.line: name for name, node in _keys(yaml.compose(text))}
    for line, name in starts.items():
        found = []
        for number in range(line, len(lines)):
            if number > line and (number in starts or not lines[number].strip().startswith("#")):
                break
            if comment := _COMMENT.search(lines[number]):
                found.append(_escaped(comment["text"]))
        # A line that begins with a choice, `name: what it is`, stays a line.
        yield name, re.sub(r"\n(?=\w+: )", "\\\\\n", "\n".join(found))


def _keys(node: Any, above: str = "") -> Iterator[tuple[str, yaml.Node]]:
    for key, value in node.value:
        name = f"{above}{key.value}"
        yield name, key
        if isinstance(value, yaml.MappingNode):
            yield from _keys(value, f"{name}.")


def _value(name: str) -> Any:
    found = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for key in name.split("."):
        found = found[key]
    return str(found).lower() if isinstance(found, bool) else found


def _knobs(schema: dict[str, Any], told: dict[str, Any], name: str) -> Iterator[tuple[str, str]]:
    """The names of a block's knobs, and what each may be."""
    told = _resolved(schema, told)
    if "properties" in told:
        for key, below in told["properties"].items():
            yield from _knobs(schema, below, f"{name}.{key}")
    else:
        yield name, _allowed(told)


def _resolved(schema: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    return schema["$defs"][told["$ref"].rpartition("/")[2]] if "$ref" in told else told


def _allowed(told: dict[str, Any]) -> str:
    if "enum" in told:
        return "one of " + ", ".join(str(value) for value in told["enum"])
    bounds = [f"{sign} {told[key]:.10g}" for key, sign in _BOUNDS.items() if key in told]
    lengths = [f"{word} {told[key]}" for key, word in _LENGTHS.items() if key in told]
    of = f" of {_allowed(told['items'])}" if "items" in told else ""
    return " ".join([told["type"] + of, ", ".join(bounds + lengths)]).strip()


def _escaped(text: str) -> str:
    """Markdown that shows the text as it stands, and as code what is in backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"([\\*_{}\[\]<>#|^~$])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n```text\n{text}\n```\n"


def _help(command: list[str]) -> str:
    ran = subprocess.run(
        [*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True,
        env=os.environ | {"COLUMNS": "80", "PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1"},
    )  # fmt: skip
    return ran.stdout.replace("__main__.py", "pneumonia").strip()


def _described() -> dict[str, Any]:
    """The OpenAPI description; no model is needed for it, and none is there."""
    from mlflow.pyfunc import scoring_server

    from pneumonia.server.app import TITLE
    from pneumonia.server.openapi import describe
    from pneumonia.server.limits import Limits
    from pneumonia.server.routes import router

    app: FastAPI = scoring_server.init(MagicMock())
    answering: Any = SimpleNamespace(model=SimpleNamespace(samples=()))
    app.include_router(router(answering, Limits(), MagicMock()))
    describe(app, TITLE)
    return app.openapi()


def _bodies(answer: dict[str, Any]) -> Iterator[str]:
    for kind, content in answer.get("content", {}).items():
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        yield f"[{name}](#{name.lower()})" if name else f"`{kind}`"


def _type(told: dict[str, Any]) -> str:
    if "$ref" in told:
        name = told["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in told:
        return " or ".join(_type(one) for one in told["anyOf"])
    if "enum" in told:
        return " or ".join(f"`{value}`" for value in told["enum"])
    if told.get("type") == "array":
        return f"list of {_type(told.get('items', {}))}"
    return str(told.get("type", "any"))
