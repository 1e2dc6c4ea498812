"""Small functions, small modules: the budget that keeps the code readable.

Lines of a function are ``end_lineno - lineno + 1`` of its syntax node, docstring included, overloads left out.
"""

from __future__ import annotations

import ast
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.architecture.sources import PACKAGE, modules, shown, tree

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Sized(NamedTuple):
    """Something with a number of lines (or of methods) and a place."""

    size: int
    place: str

    def __str__(self) -> str:
        return f"{self.place}: {self.size}"


def is_overload(node: Function) -> bool:
    return any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)


def functions_of(path: Path) -> list[Sized]:
    nodes = [node for node in ast.walk(tree(path)) if isinstance(node, Function) and not is_overload(node)]
    return [
        Sized((n.end_lineno or n.lineno) - n.lineno + 1, f"{shown(path)}:{n.lineno} {n.name}") for n in nodes
    ]


def sized_functions() -> list[Sized]:
    found = [function for path in modules() for function in functions_of(path)]
    assert len(found) > 50
    return found


def sized_modules() -> list[Sized]:
    return [Sized(len(path.read_text(encoding="utf-8").splitlines()), shown(path)) for path in modules()]


def public_methods(node: ast.ClassDef) -> list[str]:
    """The names a class offers; the two halves of a property are one."""
    names = [item.name for item in node.body if isinstance(item, Function) and not is_overload(item)]
    return sorted({name for name in names if not name.startswith("_")})


def classes() -> list[tuple[Path, ast.ClassDef]]:
    found = [
        (path, node) for path in modules() for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)
    ]
    assert len(found) > 20
    return found


def larger_than(limit: int, things: Sequence[Sized]) -> str:
    """The offenders, largest first, one a line."""
    return "\n".join(str(thing) for thing in sorted(things, reverse=True) if thing.size > limit)


def percentile(things: Sequence[Sized], share: float) -> int:
    """The size that ``share`` of the things do not exceed."""
    return sorted(thing.size for thing in things)[int(share * (len(things) - 1))]


def test_no_function_is_longer_than_a_screen() -> None:
    offenders = larger_than(50, sized_functions())
    assert not offenders, f"functions of more than 50 lines:\n{offenders}"


def test_nine_functions_in_ten_have_24_lines_at_most() -> None:
    found = sized_functions()
    p90 = percentile(found, 0.9)
    assert p90 <= 24, f"the 90th percentile is {p90}; more than 24 lines have:\n{larger_than(24, found)}"


def test_the_median_function_has_six_lines_at_most() -> None:
    found = sized_functions()
    median = statistics.median(thing.size for thing in found)
    assert median <= 6, f"the median is {median}; the longest are:\n{larger_than(15, found)}"


def test_no_module_is_longer_than_400_lines() -> None:
    offenders = larger_than(400, sized_modules())
    assert not offenders, f"modules of more than 400 lines:\n{offenders}"


def test_the_median_module_has_150_lines_at_most() -> None:
    found = sized_modules()
    median = statistics.median(thing.size for thing in found)
    assert median <= 150, f"the median is {median}; longer than 150 lines are:\n{larger_than(150, found)}"


def test_no_class_has_more_than_16_public_methods() -> None:
    counted = [Sized(len(public_methods(node)), f"{shown(path)} {node.name}") for path, node in classes()]
    offenders = larger_than(16, counted)
    assert not offenders, f"classes with more than 16 public methods:\n{offenders}"


@pytest.mark.parametrize(
    ("module", "protocol", "limit"),
    [
        ("storage", "Storage", 16),
        ("storage", "Reader", 16),
        ("storage", "UnitOfWork", 8),
        ("queue", "Queue", 7),
    ],
)
def test_a_seam_stays_small_and_specified(module: str, protocol: str, limit: int) -> None:
    """At most 16 write verbs for the storage, 7 for the queue, start and close among them; each says what it promises."""
    seam = tree(PACKAGE / module / "__init__.py")
    [node] = [item for item in seam.body if isinstance(item, ast.ClassDef) and item.name == protocol]
    verbs = public_methods(node)
    assert 0 < len(verbs) <= limit, f"{protocol} has {len(verbs)} verbs, at most {limit}: {', '.join(verbs)}"
    silent = [item.name for item in node.body if isinstance(item, Function) and not ast.get_docstring(item)]
    assert not silent, f"{protocol}: no specification for {', '.join(silent)}"
