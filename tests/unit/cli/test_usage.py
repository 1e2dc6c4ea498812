"""Errors: one message on stderr, an exit code that says what kind, no traceback."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from surehook.cli import main
from surehook.cli.root import told
from surehook.errors import (
    CommitUnknown,
    ConfigurationError,
    InvalidRequest,
    NotFound,
    SchemaMismatch,
    Unavailable,
)
from surehook.version import __version__
from tests.unit.cli.conftest import CommandLine

EVENT = "evt_" + "0" * 26


def test_the_version(surehook: CommandLine) -> None:
    assert surehook("--version").stdout == f"surehook {__version__}\n"


def test_help_names_every_command(surehook: CommandLine) -> None:
    text = surehook("--help").stdout
    for name, command in main.commands.items():
        assert f"\n  {name} " in text
        assert command.get_short_help_str()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["evnts"], 2, "No such command 'evnts'. Did you mean 'events'?"),
        (["events", "lst"], 2, "No such command 'lst'."),
        (["events", "list", "--sate", "DEAD"], 2, "No such option '--sate'."),
        (["events", "list", "--state", "GONE"], 2, "'GONE' is not one of"),
        (["events", "list", "--limit", "0"], 2, "0 is not in the range"),
        (
            ["events", "list", "--before", "msg_x"],
            2,
            "'msg_x' is not an id of the form evt_ and 26 characters.",
        ),
        (["events", "list"], 1, "there is no database"),
        (["migrate", "status"], 1, "there is no database"),
        (["events", "show", EVENT], 1, "there is no database"),
        (["events", "replay", EVENT], 2, "Missing option '--reason'."),
        (["events", "discard", EVENT, "--reason", "  too short  "], 2, "say in at least 10 characters why"),
        (["messages", "replay", "--reason", "long enough now"], 2, "Missing argument 'ID...'."),
        (["--config", "no.toml", "events", "list"], 2, "no.toml: there is no such file."),
        (["events", "list", "--config", "no.toml"], 2, "no.toml: there is no such file."),
        (["migrate", "up", "--database", "sqlite:///."], 2, ". is a folder: name a file in it"),
        (["events", "list", "--database", "sqlite:///."], 2, "sqlite:///surehook.db"),
        (["config", "show", "--database", "postgresql://h"], 2, "the URL names no database"),
        (["config", "show", "--database", "env:lower case"], 2, 'a reference is written "env:NAME"'),
        (["events", "list", "--database", "env:NO_URL"], 2, "variable of env:NO_URL is not set"),
        (["run", "--port", "65536"], 2, "is not in the range"),
        (["run", "--role", "cook"], 2, "'cook' is not one of"),
        (["run", "--drain-timeout", "25"], 2, 'Write the unit: "25s" or "25ms".'),
        (["providers", "show", "stripe"], 3, "no provider 'stripe' is configured. There is none yet."),
        (["send"], 3, "no provider is configured."),
        (["send", "stripe"], 3, "no provider 'stripe' is configured."),
    ],
)
def test_what_cannot_be_is_told(surehook: CommandLine, arguments: list[str], code: int, message: str) -> None:
    result = surehook(*arguments)
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("x"), 3),
        (ConfigurationError("x"), 2),
        (InvalidRequest("x"), 2),
        (Unavailable("x"), 1),
        (CommitUnknown("x"), 1),
        (SchemaMismatch("x"), 1),
        (OSError("x"), 1),
    ],
)
def test_errors_have_codes(error: Exception, code: int) -> None:
    assert (told(error).message, told(error).exit_code) == ("x", code)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("oops \x1b[2J")

    monkeypatch.setitem(main.commands, "broken", click.Command("broken", callback=fail))


@pytest.mark.usefixtures("broken")
def test_a_bug_is_told_without_a_traceback(surehook: CommandLine) -> None:
    result = surehook("broken")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: unexpected ValueError: oops \\x1b[2J\nSet SUREHOOK_DEBUG=1 ")


@pytest.mark.usefixtures("broken")
def test_debugging_shows_where_an_error_comes_from(
    surehook: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUREHOOK_DEBUG", "1")
    assert isinstance(surehook("broken").exception, ValueError)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which nobody can make files")
@pytest.mark.parametrize("command", [("run",), ("migrate", "up")])
def test_a_database_that_cannot_be_made_is_told(surehook: CommandLine, command: tuple[str, ...]) -> None:
    result = surehook(*command, "--database", "sqlite:////proc/x.db")
    assert result.exit_code == 1
    assert "cannot open the database /proc/x.db: No such file or directory." in result.stderr
    assert "writable for this user" in result.stderr


def test_reading_makes_no_database(surehook: CommandLine, folder: Path) -> None:
    surehook("events", "list")
    surehook("migrate", "status")
    assert list(folder.iterdir()) == []
