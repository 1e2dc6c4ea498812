"""A folder to work in, and the command line as a function."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import click.testing
import pytest

from surehook.cli import main
from surehook.clock import SystemClock
from surehook.storage.sqlite import SqliteDatabase, open_sqlite


class CommandLine:
    """Runs commands in this process."""

    def __init__(self) -> None:
        self._runner = click.testing.CliRunner()

    def __call__(self, *arguments: str, input: bytes | None = None) -> click.testing.Result:
        """What a command prints and how it ends."""
        return self._runner.invoke(main, arguments, input=input, prog_name="surehook")

    def json(self, *arguments: str) -> Any:
        """The document that a command prints with --json."""
        result = self(*arguments, "--json")
        assert not result.stderr, result.stderr
        return json.loads(result.stdout)

    def json_of_failure(self, *arguments: str) -> Any:
        """The document of a command that ends with 2."""
        result = self(*arguments, "--json")
        assert result.exit_code == 2
        return json.loads(result.stdout)


@pytest.fixture
def surehook() -> CommandLine:
    """The command line."""
    return CommandLine()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, empty, with nothing of Surehook in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("SUREHOOK_DEBUG", "SUREHOOK_CONFIG", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def own_app() -> Iterator[None]:
    """For tests with an ``app.py`` of their own: it is imported afresh, and forgotten."""
    path = list(sys.path)
    sys.modules.pop("app", None)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("app", None)
    sys.path[:] = path


Fill = Callable[[Callable[[SqliteDatabase], Awaitable[Any]]], Any]


@pytest.fixture
def with_database() -> Fill:
    """Runs a function with the database of the working directory, migrated."""

    async def run(work: Callable[[SqliteDatabase], Awaitable[Any]]) -> Any:
        database = await open_sqlite("sqlite:///surehook.db")
        try:
            await database.migrate(SystemClock())
            return await work(database)
        finally:
            await database.close()

    return lambda work: asyncio.run(run(work))
