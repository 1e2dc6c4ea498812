"""Imports go downwards only, and in one place: the head of the module."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.sources import PACKAGE, ROOT, modules, shown, tree

#: rich costs more to import than everything else in the command line together, and most commands print one line or
#: JSON: the commands that draw tables or progress bars import it where they draw.
LAZY = {"rich": PACKAGE / "cli"}


def local_imports(node: ast.AST, inside: bool = False) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that do not run with the module: in a function, or under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom) and inside:
            yield child
        hides = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_type_checking(
            child
        )
        yield from local_imports(child, inside or hides)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imported(node: ast.Import | ast.ImportFrom) -> set[str]:
    """The distributions or packages that an import names."""
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return {name.partition(".")[0] for name in names}


def may_be_lazy(path: Path, node: ast.Import | ast.ImportFrom) -> bool:
    return all(name in LAZY and path.is_relative_to(LAZY[name]) for name in imported(node))


def test_contracts_of_the_layers_are_kept() -> None:
    """Runs ``lint-imports`` as ``make check`` does, and looks that it judged every contract."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = len(project["tool"]["importlinter"]["contracts"])
    assert wanted >= 3
    lint_imports = str(Path(sys.executable).with_name("lint-imports"))
    run = subprocess.run(
        [lint_imports, "--no-cache", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"Contracts: {wanted} kept, 0 broken" in re.sub(r"\s+", " ", run.stdout), run.stdout


def test_layers_name_every_module() -> None:
    """A module that no layer names would be free to import anything."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [layers] = [c["layers"] for c in project["tool"]["importlinter"]["contracts"] if c["type"] == "layers"]
    named = {name.strip() for layer in layers for name in layer.split("|")}
    here = {f"surehook.{path.stem}" for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    here -= {"surehook.__init__", "surehook.__pycache__", "surehook.py"}
    assert here <= named, f"add to the layers in pyproject.toml: {', '.join(sorted(here - named))}"


def test_no_import_hides_in_a_function_or_from_the_run_time() -> None:
    """Both are ways around the layers: what a module needs stands at its head."""
    offenders = [
        f"{shown(path)}:{node.lineno} {ast.unparse(node)}"
        for path in modules()
        for node in local_imports(tree(path))
        if not may_be_lazy(path, node)
    ]
    assert not offenders, "move to the head of the module:\n" + "\n".join(offenders)


def test_this_check_sees_what_it_is_there_for() -> None:
    hidden = "def f():\n    import a\nif typing.TYPE_CHECKING:\n    from b import c\nimport d\nif x:\n    import e\n"
    assert [sorted(imported(node)) for node in local_imports(ast.parse(hidden))] == [["a"], ["b"]]
