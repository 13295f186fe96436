"""Which of the repository's files a Python file runs, found by reading its imports."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "pneumonia"


def closure(*files: str) -> set[str]:
    """The files, and every module of the package that they import, directly or not.

    Imports inside functions count, those for type checkers alone do not. An import by name,
    `import_module(f"package.{name}")`, counts for every module of the package. Paths are relative
    to the repository's root.
    """
    found: set[Path] = set()
    queue = [ROOT / file for file in files]
    while queue:
        file = queue.pop()
        if file not in found:
            found.add(file)
            queue += _imported(file)
    return {file.relative_to(ROOT).as_posix() for file in found}


def _imported(file: Path) -> list[Path]:
    names: set[str] = set()
    for node in _run(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            names |= _named(node.args[0])
    files = []
    for name in names:
        parts = name.split(".")
        if parts[0] != "pneumonia":
            continue
        # Importing a.b.c runs a/__init__.py and a/b/__init__.py too.
        for depth in range(1, len(parts) + 1):
            place = PACKAGE.joinpath(*parts[1:depth])
            files += [
                path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()
            ]
    return files


def _named(argument: ast.expr) -> set[str]:
    """The modules that an f-string with a package before its one gap may name."""
    assert isinstance(argument, ast.JoinedStr), ast.unparse(argument)
    start, gap = argument.values
    assert isinstance(start, ast.Constant) and isinstance(gap, ast.FormattedValue)
    package, dot, rest = start.value.rpartition(".")
    assert dot and not rest and package.startswith("pneumonia.")
    folder = PACKAGE.joinpath(*package.split(".")[1:])
    return {f"{package}.{path.stem}" for path in folder.glob("*.py")}


def _run(tree: ast.AST) -> list[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`."""
    nodes: list[ast.AST] = []
    queue = [tree]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        nodes.append(node)
        queue += ast.iter_child_nodes(node)
    return nodes
