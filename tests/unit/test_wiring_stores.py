"""Where the database and the queue are: references, what is wrong with what they name, and libraries that lack."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from surehook.clock import SystemClock
from surehook.config import PostgresSettings, Settings
from surehook.errors import ConfigurationError, Unavailable
from surehook.handlers import Event, Registry
from surehook.handlers.transaction import Transaction
from surehook.storage import UnitOfWork
from surehook.storage.postgres import PostgresDatabase
from surehook.wiring.database import (
    ServerDatabase,
    database_file,
    migrate,
    migration_status,
    open_database,
    open_unmigrated,
)
from surehook.wiring.urls import database_url, listen_url, queue_url
from tests.services import PostgresServer, free_port

URL = "postgresql://u:verysecret@h/d"


def test_urls_stand_in_the_settings_or_are_found_by_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue").write_text("redis://:verysecret@h/1\n")
    monkeypatch.setenv("DATABASE_URL", URL)
    settings = Settings(
        database="env:DATABASE_URL",
        queue=f"file:{tmp_path}/queue",
        postgres=PostgresSettings(listen_url="env:DATABASE_URL"),
    )
    assert database_url(settings) == listen_url(settings) == URL
    assert queue_url(settings) == "redis://:verysecret@h/1"
    plain = Settings(database=URL)
    assert (database_url(plain), queue_url(plain), listen_url(plain)) == (URL, "database", None)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (None, "database: the environment variable of env:DATABASE_URL is not set: export it"),
        ("", "database: the secret env:DATABASE_URL is empty"),
        ("verysecret", 'database (env:DATABASE_URL): expected "sqlite:///PATH"'),
        (
            "postgresql://u:very/secret@h/d",
            "database (env:DATABASE_URL): the URL holds a character that must be",
        ),
        ("env:DATABASE_URL", 'database (env:DATABASE_URL): expected "sqlite:///PATH"'),
    ],
)
@pytest.mark.parametrize("use", [database_url, database_file])
def test_a_reference_that_leads_to_no_database_is_told(
    monkeypatch: pytest.MonkeyPatch, value: str | None, complaint: str, use: Callable[[Settings], object]
) -> None:
    if value is not None:
        monkeypatch.setenv("DATABASE_URL", value)
    with pytest.raises(ConfigurationError) as caught:
        use(Settings(database="env:DATABASE_URL"))
    assert str(caught.value).startswith(complaint)
    assert "very" not in str(caught.value)


def test_references_of_the_queue_and_of_listening_are_told_by_their_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WRONG", "sqlite:///x.db")
    with pytest.raises(ConfigurationError, match=r"^queue \(env:WRONG\): sqlite:// is not known"):
        queue_url(Settings(queue="env:WRONG"))
    with pytest.raises(ConfigurationError, match=r"^postgres.listen_url \(env:WRONG\): expected a URL"):
        listen_url(Settings(postgres=PostgresSettings(listen_url="env:WRONG")))


def test_only_a_file_has_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:///a/b.db?synchronous=FULL")
    assert database_file(Settings(database="env:DATABASE_URL")) == Path("a/b.db")
    assert database_file(Settings(database=URL)) is None


async def test_a_file_by_reference_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/x.db")
    settings = Settings(database="env:DATABASE_URL")
    assert await migrate(settings)
    async with open_database(settings) as opened:
        assert abs(opened.clock.now() - SystemClock().now()) < 900
    assert (tmp_path / "x.db").exists()


async def test_postgres_by_reference_is_opened(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(database="env:DATABASE_URL")
    with postgres.database() as url:
        monkeypatch.setenv("DATABASE_URL", url)
        assert not any(each.applied_at for each in await migration_status(settings))
        names = await migrate(settings)
        assert names[0].startswith("0001_")
        async with open_database(settings) as opened:
            assert abs(opened.clock.now() - SystemClock().now()) < 900


def a_server(database: PostgresDatabase) -> ServerDatabase:
    """Never called: the type checker proves by it that the adapter, which is imported by name, is what wiring expects."""
    return database


async def test_a_transaction_may_idle_as_long_as_the_most_patient_handler_may_take(
    postgres: PostgresServer,
) -> None:
    handlers, settings = Registry(), Settings()

    @handlers.on("stripe", timeout="10m")
    async def ponder(event: Event, tx: Transaction) -> None:
        """Asks a slow service between two statements."""

    seen: list[object] = []

    async def look(unit: UnitOfWork) -> None:
        seen.extend(await unit.fetch("SHOW idle_in_transaction_session_timeout"))

    with postgres.database() as url:
        patience = handlers.longest_timeout(settings.handlers.timeout)
        database = await open_unmigrated(Settings(database=url), patience)
        await database.run_setup([look])
        await database.close()
    assert seen == [{"idle_in_transaction_session_timeout": "11min"}]


async def test_a_postgres_that_cannot_be_reached_is_told_without_its_password() -> None:
    with pytest.raises(Unavailable, match="cannot connect to PostgreSQL") as caught:
        await open_unmigrated(Settings(database=f"postgresql://u:verysecret@127.0.0.1:{free_port()}/d"))
    assert "verysecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("library", "arguments", "complaint"),
    [
        (
            "psycopg",
            ["migrate", "up", "--database", URL],
            "database: postgresql:// needs the extra: pip install 'surehook[postgres]'",
        ),
        ("psycopg_pool", ["config", "check", "--database", URL], "database: postgresql:// needs the extra"),
        ("psycopg_pool", ["doctor", "--database", URL], "database: postgresql:// needs the extra"),
        ("redis", ["config", "check"], "queue: redis:// needs the extra: pip install 'surehook[redis]'"),
        ("redis", ["doctor"], "queue: redis:// needs the extra: pip install 'surehook[redis]'"),
    ],
)
def test_a_library_that_lacks_is_told_and_needed_for_nothing_else(
    tmp_path: Path, library: str, arguments: list[str], complaint: str
) -> None:
    (tmp_path / "surehook.toml").write_text("queue = 'redis://h'\n[server]\nport = 0\n[console]\nport = 0\n")
    # None in sys.modules is how Python itself marks a module that cannot be imported
    code = f"import sys; sys.modules[{library!r}] = None; from surehook.cli import main; main({arguments!r})"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode in {1, 2}
    assert complaint in run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert "verysecret" not in run.stdout + run.stderr
