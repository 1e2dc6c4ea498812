"""Every acceptance scenario names a test, and the test exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.architecture.sources import ROOT, SPECS, shown, tree

HEADING = "## Acceptance scenarios"
REFERENCE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
SPEC_FILES = sorted(SPECS.glob("*/spec.md"))


class Scenario(NamedTuple):
    """One numbered scenario of a spec."""

    path: Path
    number: int
    text: str

    def __str__(self) -> str:
        return f"{shown(self.path)} scenario {self.number}"


def scenarios(path: Path) -> list[Scenario]:
    """The items of the numbered list under the heading, each with the lines that belong to it."""
    _, _, section = path.read_text(encoding="utf-8").partition(HEADING)
    section = re.split(r"^## ", section, flags=re.MULTILINE)[0]
    items = re.split(r"^(\d+)\. ", section, flags=re.MULTILINE)[1:]
    return [Scenario(path, int(n), text) for n, text in zip(items[::2], items[1::2], strict=True)]


def names_in(path: Path) -> set[str]:
    """The names of a file's test functions, found without importing it."""
    functions = [n for n in ast.walk(tree(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node.name for node in functions if node.name.startswith("test_")}


def exists(file: str, name: str) -> bool:
    path = ROOT / file
    return path.is_file() and name in names_in(path)


ALL = [scenario for path in SPEC_FILES for scenario in scenarios(path)]


def test_there_are_specs() -> None:
    assert len(SPEC_FILES) >= 8
    assert len(ALL) >= 40


@pytest.mark.parametrize("path", SPEC_FILES, ids=lambda path: path.parent.name)
def test_a_spec_has_a_purpose_and_numbered_scenarios(path: Path) -> None:
    assert "## Purpose" in path.read_text(encoding="utf-8")
    numbers = [scenario.number for scenario in scenarios(path)]
    assert numbers
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("scenario", ALL, ids=str)
def test_a_scenario_is_given_when_then_and_names_its_test(scenario: Scenario) -> None:
    words = re.findall(r"\b(Given|when|then)\b", scenario.text)
    assert words[:1] == ["Given"], f"{scenario}: it does not start with what is given"
    assert {"when", "then"} <= set(words), f"{scenario}: write Given ..., when ..., then ..."
    named = REFERENCE.findall(scenario.text)
    assert named, f"{scenario}: no `tests/...py::test_name`"
    missing = [f"{file}::{name}" for file, name in named if not exists(file, name)]
    assert not missing, f"{scenario}: no such test: {', '.join(missing)}"
