"""What the architecture tests read: source trees, statements, documents. Nothing here imports the code it judges."""

from __future__ import annotations

import ast
import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "surehook"
DOCS = ROOT / "docs"
SPECS = ROOT / "specs"
STATEMENTS = PACKAGE / "storage" / "statements"
MIGRATIONS = PACKAGE / "storage" / "migrations"

#: Folders that tools make, beside those whose name starts with a dot.
_GENERATED = frozenset({"__pycache__", "build", "dist", "node_modules"})
_KEPT_HIDDEN = frozenset({".ci", ".github"})


def modules() -> list[Path]:
    """The package's Python files, without the empty ones, which would flatter every median."""
    found = sorted(path for path in PACKAGE.rglob("*.py") if path.stat().st_size)
    assert len(found) > 10, f"hardly any module found below {PACKAGE}"
    return found


@functools.cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def shown(path: Path) -> str:
    """A path as people write it, from the repository's root."""
    return path.relative_to(ROOT).as_posix()


def documents() -> list[Path]:
    """Every Markdown file of the repository."""
    return [path for path in repository_files() if path.suffix == ".md"]


def repository_files() -> list[Path]:
    """Every file that a person wrote, also where there is no git."""
    found: list[Path] = []
    for folder, below, names in os.walk(ROOT):
        below[:] = [name for name in below if _is_source(name)]
        found += [Path(folder, name) for name in names]
    return sorted(found)


def _is_source(folder: str) -> bool:
    hidden = folder.startswith(".") and folder not in _KEPT_HIDDEN
    return not hidden and folder not in _GENERATED and not folder.endswith(".egg-info")


def documentation() -> str:
    """The whole text of ``docs/`` but for the decision records, which tell of the past."""
    pages = [path for path in documents() if path.parent == DOCS]
    assert pages, "docs/ holds no page"
    return "\n".join(path.read_text(encoding="utf-8") for path in pages)


class CodeBlock(NamedTuple):
    """A fenced block of a Markdown file."""

    path: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{shown(self.path)}:{self.line}"


def code_blocks(path: Path, language: str) -> list[CodeBlock]:
    """The blocks of one language in a Markdown file."""
    text = path.read_text(encoding="utf-8")
    fences = re.finditer(r"^```(\w+)[^\n]*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    blocks = [CodeBlock(path, text.count("\n", 0, f.start()) + 1, f[1], f[2]) for f in fences]
    return [block for block in blocks if block.language == language]


def without_code(text: str) -> str:
    """Markdown without its fenced blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


class Statement(NamedTuple):
    """One named statement of ``storage/statements``."""

    path: Path
    name: str
    #: The text behind each ``-- moves:``.
    moves: tuple[str, ...]
    sentence: str
    sql: str

    def __str__(self) -> str:
        return f"{shown(self.path)}: {self.name}"


def statements() -> list[Statement]:
    """All named statements, in the order of their files."""
    found = [one for path in sorted(STATEMENTS.glob("*.sql")) for one in _statements_of(path)]
    assert len(found) > 10, f"hardly any statement found in {STATEMENTS}"
    return found


def _statements_of(path: Path) -> Iterator[Statement]:
    parts = re.split(r"^-- name:[ \t]*", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for part in parts[1:]:
        name, _, rest = part.partition("\n")
        comments = re.findall(r"^--[ \t]*(.*)$", rest, flags=re.MULTILINE)
        moves = tuple(text.removeprefix("moves:").strip() for text in comments if text.startswith("moves:"))
        sentence = " ".join(text for text in comments if not text.startswith("moves:"))
        sql = re.sub(r"--.*$", "", rest, flags=re.MULTILINE).strip()
        yield Statement(path, name.strip(), moves, sentence, sql)
