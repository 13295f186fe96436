"""params.yaml is checked as a whole; each mistake gives one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pneumonia.core.config import load_params
from pneumonia.core.errors import InputError

SHIPPED = Path(__file__).parents[2] / "params.yaml"


def changed(folder: Path, pattern: str, replacement: str) -> Path:
    """The shipped file with the first match of a pattern replaced."""
    text, count = re.subn(pattern, replacement, SHIPPED.read_text(), count=1, flags=re.MULTILINE)
    assert count == 1
    path = folder / "params.yaml"
    path.write_text(text)
    return path


def complaint(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_params(path)
    return str(caught.value)


def line_of(path: Path, start: str) -> int:
    """Number of the first line that starts with a text, from 1."""
    lines = path.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.startswith(start))


def test_the_shipped_file_loads() -> None:
    params = load_params(SHIPPED)
    assert params.data.source == "phantom"
    assert params.train_scratch.widths == [32, 64, 128, 192]
    assert params.augment.rotation == 8.0


@pytest.mark.parametrize(
    ("key", "typo", "where", "nearest"),
    [
        ("  validation:", "  valdation:", "prepare.valdation", "validation"),
        ("  rotation:", "  rotaton:", "augment.rotaton", "rotation"),
        ("    images:", "    image:", "data.phantom.image", "images"),
        ("evaluate:", "evalute:", "evalute", "evaluate"),
    ],
)
def test_a_typo_is_named_with_its_line_and_the_nearest_key(
    tmp_path: Path, key: str, typo: str, where: str, nearest: str
) -> None:
    path = changed(tmp_path, f"^{key}", typo)
    lines = complaint(path).splitlines()
    at = line_of(path, typo)
    assert f"{path}:{at}: {where}: unknown key; did you mean '{nearest}'?" in lines
    parent = where.rpartition(".")[0]
    assert sum(line.endswith(f"{parent}.{nearest}: missing".lstrip(".")) for line in lines) == 1
    assert len(lines) == 2


def test_a_key_unlike_any_known_one_gets_the_list_of_known_ones(tmp_path: Path) -> None:
    path = changed(tmp_path, r"^  size:", "  qqqqqq: 1\n  size:")
    assert complaint(path).endswith(
        "prepare.qqqqqq: unknown key; known here: "
        "size, on_bad_image, official_test, test, validation, seed"
    )


@pytest.mark.parametrize(
    ("key", "value", "where", "reason"),
    [
        ("    margin", "-0.1", "register.promotion.margin", "greater than or equal to 0, not -0.1"),
        ("    level", "1.0", "register.promotion.level", "less than 1, not 1.0"),
        ("  size", "16", "prepare.size", "input should be greater than or equal to 32, not 16"),
        ("  size", "2000", "prepare.size", "input should be less than or equal to 1024, not 2000"),
        ("  seed", "-1", "prepare.seed", "greater than or equal to 0, not -1"),
        ("  seed", "2147483648", "prepare.seed", "less than 2147483648"),
        ("  validation", "0.6", "prepare.validation", "less than or equal to 0.5, not 0.6"),
        ("  validation", ".nan", "prepare.validation", "not nan"),
        ("  learning_rate", "0", "train_scratch.learning_rate", "greater than 0, not 0"),
        ("  learning_rate", ".inf", "train_scratch.learning_rate", "not inf"),
        ("  epochs", "ten", "train_scratch.epochs", "valid integer, not 'ten'"),
        ("  epochs", "7.0", "train_scratch.epochs", "valid integer, not 7.0"),
        ("  epochs", "true", "train_scratch.epochs", "valid integer, not True"),
        ("  epochs", "'7'", "train_scratch.epochs", "valid integer, not '7'"),
        ("  ema_decay", "1", "train_scratch.ema_decay", "less than 1, not 1"),
        ("  balance", "both", "train_scratch.balance", "'weights' or 'sampling', not 'both'"),
        ("  precision", "float16", "train_scratch.precision", "'bfloat16', not 'float16'"),
        ("  fine_tune_blocks", "-1", "train_transfer.fine_tune_blocks", "equal to 0, not -1"),
        ("  schedule", "slow", "train_transfer.schedule", "'full' or 'gradual', not 'slow'"),
        ("  layer_decay", "0", "train_transfer.layer_decay", "greater than 0, not 0"),
        ("  widths", "[8, 2]", "train_scratch.widths.1", "greater than or equal to 4, not 2"),
        ("  widths", "[]", "train_scratch.widths", "at least 1 item"),
        ("  source", "mnist", "data.source", "'medmnist' or 'table', not 'mnist'"),
        ("  source", "dicom", "data.source", "'medmnist' or 'table', not 'dicom'"),
        ("    size", "32", "data.medmnist.size", "28, 64, 128 or 224, not 32"),
        ("  patient_pattern", "'('", "data.patient_pattern", "no regular expression (missing )"),
        ("  patient_pattern", "p.d", "data.patient_pattern", "have a group (?P<patient>...), not"),
        ("  on_bad_image", "skip", "prepare.on_bad_image", "'fail' or 'quarantine', not 'skip'"),
        ("  test", "0.01", "prepare.test", "greater than or equal to 0.05, not 0.01"),
        ("  registered_model", "a/b", "register.registered_model", "not 'a/b'"),
        ("  opacity", "", "gradcam_report.opacity", "valid number, not None"),
    ],
)
def test_a_wrong_value_is_one_line_with_its_place_and_itself(
    tmp_path: Path, key: str, value: str, where: str, reason: str
) -> None:
    path = changed(tmp_path, rf"^{key}:.*$", f"{key}: {value}")
    text = complaint(path)
    at = line_of(path, f"{key}:")
    assert text.startswith(f"{path}:{at}: {where}: ")
    assert reason in text
    assert "\n" not in text


def test_the_line_of_a_list_entry_is_its_own(tmp_path: Path) -> None:
    path = changed(tmp_path, r"^  widths:.*$", "  widths:\n  - 8\n  - 2")
    assert complaint(path).startswith(f"{path}:{line_of(path, '  - 2')}: train_scratch.widths.1: ")


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    path = changed(tmp_path, r"^  size:.*$", "  size: big")
    path.write_text(path.read_text().replace("opacity: 0.6", "opacity: 6"))
    lines = complaint(path).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["prepare.size", "gradcam_report.opacity"]


def test_a_missing_key_is_named_at_its_block(tmp_path: Path) -> None:
    path = changed(tmp_path, r"^  validation:.*\n", "")
    assert complaint(path) == f"{path}:{line_of(path, 'prepare:')}: prepare.validation: missing"


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    assert complaint(path) == f"{path}: no such file; run from the repository's root"


@pytest.mark.parametrize(
    "content", [b"a: [1", b"a: b: c", b"\tx: 1", b"\xff\xfe\x00", b"? [1]\n: 2"]
)
def test_no_yaml_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    text = complaint(path)
    assert text.startswith(f"{path}: not YAML: ")
    assert "\n" not in text


@pytest.mark.parametrize("content", ["", "# nothing but a comment\n"])
def test_an_empty_file_names_every_missing_block(tmp_path: Path, content: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(content)
    blocks = [line.split(": ")[1] for line in complaint(path).splitlines()]
    assert blocks == re.findall(r"^(\w+):", SHIPPED.read_text(), re.MULTILINE)


@pytest.mark.parametrize("content", ["- 1\n- 2\n", "just words\n"])
def test_a_file_that_is_no_mapping_is_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(content)
    text = complaint(path)
    assert text.startswith(f"{path}:1: the file: ")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("1E-3", 1e-3), ("2.5e-1", 0.25), ("+1e-2", 0.01), ("1.e-3", 1e-3), ("1", 1)],
)
def test_numbers_are_read_as_yaml_1_2_has_them(tmp_path: Path, text: str, value: float) -> None:
    path = changed(tmp_path, r"^  learning_rate:.*$", f"  learning_rate: {text}")
    assert load_params(path).train_scratch.learning_rate == value


def test_params_cannot_be_changed() -> None:
    params = load_params(SHIPPED)
    with pytest.raises(ValueError, match="frozen"):
        params.prepare.size = 32


def test_a_folder_in_its_place_is_one_line(tmp_path: Path) -> None:
    assert complaint(tmp_path) == f"{tmp_path}: Is a directory"
