"""The pages generated from the code are complete."""

from __future__ import annotations

import re

import yaml

from docs import generated
from tests.pipeline.imports import ROOT


def keys(block: dict[str, object], prefix: str = "") -> list[str]:
    names = []
    for key, value in block.items():
        name = f"{prefix}{key}"
        names += keys(value, f"{name}.") if isinstance(value, dict) else [name]
    return names


def test_every_param_has_value_range_and_meaning() -> None:
    entries = re.findall(r"^`([\w.]+)`\n: (.+); (.+)\n: (\S.*)$", generated.params(), re.MULTILINE)
    described = {name: rest for name, *rest in entries}
    assert sorted(described) == sorted(keys(yaml.safe_load((ROOT / "params.yaml").read_text())))
    value, allowed, meaning = described["prepare.validation"]
    assert value == "`0.12`"
    assert allowed == r"number \>= 0.05, \<= 0.5"
    assert meaning.startswith("share of the training patients")
    # The comment in params.yaml says "as above".
    assert described["train_transfer.ema_decay"][2] == described["train_scratch.ema_decay"][2]


def test_choices_are_lines_and_code_stays_code() -> None:
    source = re.search(r"^`data.source`\n.*\n: ((?:.+\n)+)", generated.params(), re.MULTILINE)
    assert source
    assert r"phantom: drawn by the program, needs nothing\ ".strip() in source[1]
    assert r"folder: \{train,val,test\}/\{NORMAL,PNEUMONIA\}/\*.jpeg under `path`" in source[1]


def test_every_module_is_on_a_page() -> None:
    pages = (ROOT / "docs/reference/code").glob("*.md")
    text = "".join(generated.fill(page.read_text()) for page in pages)
    package = ROOT / "src"
    names = {
        ".".join(file.relative_to(package).with_suffix("").parts)
        for file in package.rglob("[!_]*.py")
    }
    assert set(re.findall(r"automodule:: ([\w.]+)", text)) == names


def test_every_route_is_on_the_page() -> None:
    text = generated.rest()
    assert {"POST /predict", "POST /invocations", "GET /metrics"} <= set(
        re.findall(r"^## (.+)$", text, re.MULTILINE)
    )
    refused = "| 429 | Too many requests or bytes in progress; see Retry-After. | [ErrorBody]"
    assert refused in text
