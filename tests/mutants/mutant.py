"""What a seeded bug is: one exchange of text in one file of the repository."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """A bug that somebody might write, and that runs.

    Attributes:
        name: in small letters and dashes.
        file: path in the repository.
        old: text that is in the file once.
        new: what stands there instead.
        why: how one comes to write it.
        first: tests to try before all others, by path: the room and the file where one would look
            for them.
    """

    name: str
    file: str
    old: str
    new: str
    why: str
    first: tuple[str, ...]

    def seeded(self, text: str) -> str:
        """The file's text with the bug in it.

        Raises:
            ValueError: the old text is not there once.
        """
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"{self.name}: its old text is {count} times in {self.file}, not once")
        return text.replace(self.old, self.new)

    def seed(self, root: Path) -> None:
        """Put the bug into a copy of the repository."""
        path = root / self.file
        path.write_text(self.seeded(path.read_text(encoding="utf-8")), encoding="utf-8")

    @property
    def sha256(self) -> str:
        """Of all of the above."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()
