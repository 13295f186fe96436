"""The reference that is read from the code has all of it."""

from __future__ import annotations

import re

import yaml

from docs import generated
from tests.pipeline.imports import ROOT


def keys(block: dict[str, object], above: str = "") -> list[str]:
    found = []
    for key, value in block.items():
        name = f"{above}{key}"
        found += keys(value, f"{name}.") if isinstance(value, dict) else [name]
    return found


def test_every_knob_has_its_value_its_range_and_its_meaning() -> None:
    entries = re.findall(r"^`([\w.]+)`\n: (.+); (.+)\n: (\S.*)$", generated.params(), re.MULTILINE)
    told = {name: rest for name, *rest in entries}
    assert sorted(told) == sorted(keys(yaml.safe_load((ROOT / "params.yaml").read_text())))
    value, allowed, meaning = told["prepare.validation"]
    assert value == "`0.12`"
    assert allowed == r"number \>= 0.05, \<= 0.5"
    assert meaning.startswith("share of the training patients")
    # Where the comment says "as above".
    assert told["train_transfer.ema_decay"][2] == told["train_scratch.ema_decay"][2]


def test_choices_stay_lines_and_code_stays_code() -> None:
    source = re.search(r"^`data.source`\n.*\n: ((?:.+\n)+)", generated.params(), re.MULTILINE)
    assert source
    assert r"phantom: drawn by the program, needs nothing\ ".strip() in source[1]
    assert r"folder: \{train,val,test\}/\{NORMAL,PNEUMONIA\}/\*.jpeg under `path`" in source[1]


def test_every_module_has_its_place() -> None:
    pages = (ROOT / "docs/reference/code").glob("*.md")
    shown = "".join(generated.fill(page.read_text()) for page in pages)
    package = ROOT / "src"
    names = {
        ".".join(file.relative_to(package).with_suffix("").parts)
        for file in package.rglob("[!_]*.py")
    }
    assert set(re.findall(r"automodule:: ([\w.]+)", shown)) == names


def test_every_route_has_its_place() -> None:
    text = generated.rest()
    assert {"POST /predict", "POST /invocations", "GET /metrics"} <= set(
        re.findall(r"^## (.+)$", text, re.MULTILINE)
    )
    assert (
        "| 429 | Too many requests or bytes in progress; see Retry-After. | [ErrorBody](#errorbody) |"
        in text
    )
