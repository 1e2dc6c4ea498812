"""A new project: complete, careful with what exists, and valid."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import CommandLine

FILES = [
    ".env.example",
    ".gitignore",
    "app.py",
    "secrets/github",
    "secrets/ledger",
    "secrets/stripe",
    "surehook.toml",
]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_init_writes_a_project_and_says_what_is_next(surehook: CommandLine, folder: Path) -> None:
    result = surehook("init", "hooks")
    assert result.exit_code == 0
    assert files(folder / "hooks") == FILES
    commands = result.stdout.partition("Next:\n")[2].split("\n")
    assert [line.strip().partition("  ")[0] for line in commands if line] == [
        "cd hooks",
        "surehook run",
        "surehook send stripe",
        "surehook events list",
    ]


def test_secrets_are_random_and_for_their_owner_only(surehook: CommandLine, folder: Path) -> None:
    before = os.umask(0)
    try:
        surehook("init", "a")
        surehook("init", "b")
    finally:
        os.umask(before)
    for name in ("github", "ledger", "stripe"):
        one, other = folder / "a/secrets" / name, folder / "b/secrets" / name
        assert stat.S_IMODE(one.stat().st_mode) == 0o600
        assert stat.S_IMODE(one.parent.stat().st_mode) == 0o700
        assert one.read_text() != other.read_text()
        assert len(one.read_text()) > 32
    assert "secrets/" in (folder / "a/.gitignore").read_text().splitlines()


def test_init_writes_over_nothing(surehook: CommandLine, folder: Path) -> None:
    (folder / "app.py").write_text("mine")
    (folder / "secrets").mkdir()
    (folder / "secrets/stripe").write_text("mine")
    result = surehook("init")
    assert result.exit_code == 2
    assert "makes new secrets" in result.stderr
    assert result.stderr.splitlines()[1:] == ["  app.py", "  secrets/stripe"]
    assert files(folder) == ["app.py", "secrets/stripe"]
    assert (folder / "app.py").read_text() == "mine"


def test_force_writes_over_files_but_not_through_their_links(surehook: CommandLine, folder: Path) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.write_text("mine")
    (folder / "hooks").mkdir()
    (folder / "hooks/app.py").symlink_to(elsewhere)
    assert surehook("init", "hooks", "--force").exit_code == 0
    assert files(folder / "hooks") == FILES
    assert elsewhere.read_text() == "mine"


def test_a_file_in_place_of_the_folder_is_an_error(surehook: CommandLine, folder: Path) -> None:
    (folder / "hooks").write_text("")
    assert surehook("init", "hooks").exit_code == 2


def test_the_new_project_has_no_problems(surehook: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "app", raising=False)
    surehook("init")
    try:
        result = surehook("config", "check")
        assert (result.exit_code, result.stdout) == (0, "surehook.toml: no problems.\n"), result.stderr
        names = [handler.name for handler in sys.modules["app"].app.handlers]
        assert names == ["app.record_activity", "app.record_invoice"]
    finally:
        sys.modules.pop("app", None)
