"""A seeded bug: one replacement of text in one file of the repository."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """A realistic bug with which the code still runs.

    Attributes:
        name: lower-case letters, digits and dashes.
        file: path in the repository.
        old: text that occurs once in the file.
        new: the text that replaces it.
        why: how a programmer comes to write it.
        first: test files to run before all others: where a test for this bug is expected.
    """

    name: str
    file: str
    old: str
    new: str
    why: str
    first: tuple[str, ...]

    def seeded(self, text: str) -> str:
        """The text of the file with the bug.

        Raises:
            ValueError: the old text does not occur exactly once.
        """
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"{self.name}: its old text is {count} times in {self.file}, not once")
        return text.replace(self.old, self.new)

    def seed(self, root: Path) -> None:
        """Write the bug into a copy of the repository."""
        path = root / self.file
        path.write_text(self.seeded(path.read_text(encoding="utf-8")), encoding="utf-8")

    @property
    def sha256(self) -> str:
        """Hash of all attributes."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()
