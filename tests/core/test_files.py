"""The files of a training are compared with their recorded checksums."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pneumonia.core.errors import InputError
from pneumonia.core.files import hashes, read_checked


def trained(folder: Path) -> Path:
    graph = folder / "graph.onnx"
    graph.write_bytes(b"graph")
    (folder / "training.json").write_text(json.dumps({"sha256": hashes([graph])}))
    return graph


def test_an_intact_file_is_read(tmp_path: Path) -> None:
    assert read_checked(trained(tmp_path)) == b"graph"


def test_a_changed_byte_is_refused_in_a_line_that_names_the_remedy(tmp_path: Path) -> None:
    graph = trained(tmp_path)
    graph.write_bytes(b"grapH")
    with pytest.raises(InputError) as caught:
        read_checked(graph)
    assert str(caught.value).startswith(f"{graph}: damaged, its SHA-256 is not the recorded one")
    assert "`make repair`" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_in_a_folder_without_a_record_is_read(tmp_path: Path) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"graph")
    assert read_checked(tmp_path / "graph.onnx") == b"graph"


@pytest.mark.parametrize("record", ["{}", '{"sha256": {"other.onnx": ""}}'])
def test_a_file_that_the_record_does_not_name_is_refused(tmp_path: Path, record: str) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"graph")
    (tmp_path / "training.json").write_text(record)
    with pytest.raises(InputError, match="its SHA-256 is not the recorded one"):
        read_checked(tmp_path / "graph.onnx")


def test_a_given_checksum_is_compared_with_or_without_a_record(tmp_path: Path) -> None:
    graph = tmp_path / "graph.onnx"
    graph.write_bytes(b"graph")
    assert read_checked(graph, hashlib.sha256(b"graph").hexdigest()) == b"graph"
    with pytest.raises(InputError, match="not the recorded one; fetch it again"):
        read_checked(graph, "0" * 64, "fetch it again")


@pytest.mark.parametrize("content", ["", "{", "[]", "\0"])
def test_a_damaged_record_is_refused(tmp_path: Path, content: str) -> None:
    graph = trained(tmp_path)
    (tmp_path / "training.json").write_text(content)
    with pytest.raises(InputError, match=r"training\.json: damaged; `make repair`"):
        read_checked(graph)
