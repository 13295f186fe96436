"""Parts of the reference that are made from the code, as Markdown for MyST."""

from __future__ import annotations

import ast
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

from pneumonia.cli import VERBS
from pneumonia.core.config import Params

if TYPE_CHECKING:
    from fastapi import FastAPI

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "pneumonia"
_MARKER = re.compile(r"<!-- generated: (\w+)(?: (\w+))? -->")
_AUTOMODULE = "```{{eval-rst}}\n.. automodule:: {}\n   :members:\n   :ignore-module-all:\n```\n"
_COMMENT = re.compile(r"(?:^|\s)# ?(?P<text>.*)$")
_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
_LENGTHS = {"minItems": "at least", "maxItems": "at most"}


def fill(text: str) -> str:
    """A page with every `<!-- generated: NAME ARGUMENT -->` replaced by the generated part."""
    makers: dict[str, Callable[..., str]] = {
        "params": params,
        "commands": commands,
        "rest": rest,
        "modules": modules,
    }
    return _MARKER.sub(lambda marker: makers[marker[1]](*filter(None, [marker[2]])), text)


def params() -> str:
    """Every setting: name, default, allowed values (from the schema), meaning.

    The meaning is the comment in params.yaml. Where the comment for train_transfer is missing or
    says "as above", it is the one for train_scratch.
    """
    comments = dict(_comments((ROOT / "params.yaml").read_text(encoding="utf-8")))
    schema = Params.model_json_schema()
    parts = []
    for block, field in Params.model_fields.items():
        kind = field.annotation
        assert isinstance(kind, type) and issubclass(kind, BaseModel)
        parts.append(f"## {block}\n\n{kind.__doc__}\n")
        for name, allowed in _settings(schema, schema["properties"][block], block):
            value = _value(name)
            meaning = comments[name]
            if not meaning or meaning.startswith("as above"):
                meaning = comments[name.replace("train_transfer", "train_scratch")]
            default = f"`{value}`" if value != "" else "empty"
            parts.append(f"`{name}`\n: {default}; {_escaped(allowed)}\n: {meaning}\n")
    return "\n".join(parts)


def commands() -> str:
    """The help of every command, as it is printed."""
    pneumonia = [sys.executable, "-m", "pneumonia"]
    parts = [_section("pneumonia", _help(pneumonia))]
    for verb in VERBS:
        parts.append(_section(f"pneumonia {verb}", _help([*pneumonia, verb])))
    dvc = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    for stage in dvc["stages"]:
        name = f"stages/{stage}.py"
        parts.append(_section(f"python {name}", _help([sys.executable, name])))
    return "\n".join(parts)


def rest() -> str:
    """The routes and their responses, from the OpenAPI description."""
    description = _description()
    parts = []
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            parts.append(f"## {method.upper()} {path}\n")
            parts += [
                f"{operation[key]}\n" for key in ("summary", "description") if operation.get(key)
            ]
            for parameter in operation.get("parameters", []):
                meaning = parameter.get("description", "")
                parts.append(f"`{parameter['name']}` ({parameter['in']})\n: {meaning}\n")
            if "requestBody" in operation:
                kinds = ", ".join(f"`{kind}`" for kind in operation["requestBody"]["content"])
                parts.append(f"Body: {kinds}\n")
            parts.append("| status | | body |\n| --- | --- | --- |")
            for status, response in operation["responses"].items():
                bodies = ", ".join(_bodies(response)) or "-"
                parts.append(f"| {status} | {response['description']} | {bodies} |")
            parts.append("")
    parts.append("## Bodies\n")
    for name, schema in description["components"]["schemas"].items():
        parts.append(f"### {name}\n\n{schema.get('description', '')}\n")
        for field, properties in schema.get("properties", {}).items():
            meaning = properties.get("description", "")
            parts.append(f"`{field}`\n: {_type(properties)}\n: {meaning}\n")
    return "\n".join(parts)


def modules(room: str) -> str:
    """The docstrings of a room, a folder of the package; `top` is what lies beside the folders."""
    if room == "top":
        files, about = list(PACKAGE.glob("[!_]*.py")), PACKAGE / "__init__.py"
    else:
        files, about = list((PACKAGE / room).rglob("[!_]*.py")), PACKAGE / room / "__init__.py"
    parts = [f"{ast.get_docstring(ast.parse(about.read_text(encoding='utf-8')))}\n"]
    for file in sorted(files):
        name = ".".join(("pneumonia", *file.relative_to(PACKAGE).with_suffix("").parts))
        parts.append(f"## {name}\n\n{_AUTOMODULE.format(name)}")
    return "\n".join(parts)


def _comments(text: str) -> Iterator[tuple[str, str]]:
    """Each setting of a params file by its dotted name, and the comment beside and below it."""
    lines = text.splitlines()
    starts = {node.start_mark.line: name for name, node in _keys(yaml.compose(text))}
    for line, name in starts.items():
        texts = []
        for number in range(line, len(lines)):
            if number > line and (number in starts or not lines[number].strip().startswith("#")):
                break
            if comment := _COMMENT.search(lines[number]):
                texts.append(_escaped(comment["text"]))
        # A line that begins with a choice, `name: meaning`, stays a line of its own.
        yield name, re.sub(r"\n(?=\w+: )", "\\\\\n", "\n".join(texts))


def _keys(node: Any, above: str = "") -> Iterator[tuple[str, yaml.Node]]:
    for key, value in node.value:
        name = f"{above}{key.value}"
        yield name, key
        if isinstance(value, yaml.MappingNode):
            yield from _keys(value, f"{name}.")


def _value(name: str) -> Any:
    value = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for key in name.split("."):
        value = value[key]
    return str(value).lower() if isinstance(value, bool) else value


def _settings(
    schema: dict[str, Any], block: dict[str, Any], name: str
) -> Iterator[tuple[str, str]]:
    """The dotted names of a block's settings, and the allowed values of each."""
    block = _resolved(schema, block)
    if "properties" in block:
        for key, below in block["properties"].items():
            yield from _settings(schema, below, f"{name}.{key}")
    else:
        yield name, _allowed(block)


def _resolved(schema: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    return schema["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part


def _allowed(setting: dict[str, Any]) -> str:
    if "enum" in setting:
        return "one of " + ", ".join(str(value) for value in setting["enum"])
    bounds = [f"{sign} {setting[key]:.10g}" for key, sign in _BOUNDS.items() if key in setting]
    lengths = [f"{word} {setting[key]}" for key, word in _LENGTHS.items() if key in setting]
    of = f" of {_allowed(setting['items'])}" if "items" in setting else ""
    return " ".join([setting["type"] + of, ", ".join(bounds + lengths)]).strip()


def _escaped(text: str) -> str:
    """Markdown that shows the text as it is, and code where the text has backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"([\\*_{}\[\]<>#|^~$])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n```text\n{text}\n```\n"


def _help(command: list[str]) -> str:
    result = subprocess.run(
        [*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True,
        env=os.environ | {"COLUMNS": "80", "PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1"},
    )  # fmt: skip
    return result.stdout.strip()


def _description() -> dict[str, Any]:
    """The OpenAPI description; it does not depend on the model, so a mock is enough."""
    from mlflow.pyfunc import scoring_server

    from pneumonia.server.limits import Limits
    from pneumonia.server.openapi import describe
    from pneumonia.server.routes import create_router

    app: FastAPI = scoring_server.init(MagicMock())
    service: Any = SimpleNamespace(model=SimpleNamespace(samples=()))
    app.include_router(create_router(service, Limits(), MagicMock()))
    describe(app)
    return app.openapi()


def _bodies(response: dict[str, Any]) -> Iterator[str]:
    for kind, content in response.get("content", {}).items():
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        yield f"[{name}](#{name.lower()})" if name else f"`{kind}`"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any"))
