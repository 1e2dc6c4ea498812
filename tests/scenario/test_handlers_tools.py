"""Handlers that bring psycopg, SQLAlchemy or Django: whenever their process is killed, each event has one effect."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest

from tests.scenario.backends import Backend
from tests.scenario.checker import Expected, check
from tests.scenario.installation import SHORT_LEASE
from tests.scenario.load import PATIENT, assert_it_was_hit, random_chance, send_until
from tests.scenario.scene import Scene
from tests.scenario.test_kills import live_and_die
from tests.scenario.waiting import wait_until
from tests.scenario.webhooks import invoice, order

EXAMPLES = Path(__file__).parents[2] / "examples" / "tools"
TOOLS = ("psycopg", "psycopg_in_thread", "sqlalchemy", "sqlalchemy_in_thread", "django")
EXPECTED = {f"tools.{tool}": Expected() for tool in TOOLS}

#: Each costs a start of the process, which imports SQLAlchemy and Django.
KILLS = 10

#: What is written to a table waits for whoever holds the lock 7, at once or in its commit, and leaves a trace.
TRACES = """
CREATE TABLE traces (content text NOT NULL);
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_advisory_xact_lock_shared(7);
    INSERT INTO traces VALUES (NEW::text);
    RETURN NULL;
END $$
"""
WAIT = """
DROP TRIGGER IF EXISTS wait ON {table};
CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON {table} DEFERRABLE INITIALLY {moment}
    FOR EACH ROW EXECUTE FUNCTION wait()
"""
WAITING = "SELECT count(*) AS waiting FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"

pytestmark = pytest.mark.parametrize("backend", ["postgresql-database"], indirect=True)


@pytest.fixture(autouse=True)
def database_in_the_environment(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Django's settings of the example look there."""
    monkeypatch.setenv("SUREHOOK_DATABASE", backend.settings["database"])


@pytest.fixture
def tools(scene: Scene) -> Scene:
    """The scene with the application that brings its own tools."""
    shutil.copy(Path(__file__).with_name("tools_application.py"), scene.server.folder)
    scene.server.configure(app="tools_application:app", handlers=SHORT_LEASE)
    return scene


async def post_all(scene: Scene, **data: object) -> None:
    for tool in TOOLS:
        await scene.sender.deliver(order(tool, f"tools.{tool}", **data))


def assert_nothing_is_wrong(scene: Scene, attempts: int) -> None:
    assert check(scene.history(), EXPECTED) == []
    database = scene.server.database
    assert [database.event(tool)["attempts"] for tool in TOOLS] == [attempts] * len(TOOLS)


async def test_kill_between_effect_and_commit(tools: Scene) -> None:
    server = tools.server
    await server.start()
    await post_all(tools, hold=True)
    await wait_until(lambda: len(server.notes("held")) == len(TOOLS), "every handler has written its effect")
    await server.kill()
    assert count(tools, "effects") == 0

    server.touch("gate")
    await server.start()
    await server.settled()
    assert await server.stop() == 0
    assert_nothing_is_wrong(tools, attempts=2)


async def test_kill_within_the_commit(tools: Scene) -> None:
    """The database goes on without the process: what it commits then is done, and nobody does it again."""
    server = tools.server
    with administrator(tools) as admin:
        admin.execute("CREATE TABLE effects (event_id text NOT NULL, external_id text NOT NULL)")
        admin.execute(TRACES)
        hold_back(admin, "effects", "DEFERRED")
        await server.start()
        await post_all(tools)
        await wait_until(
            lambda: server.database.value(WAITING) == len(TOOLS), "every attempt is about to be committed"
        )
        await server.kill()
        assert count(tools, "effects") == 0

    await server.start()
    await server.settled()
    assert await server.stop() == 0
    assert_nothing_is_wrong(tools, attempts=1)


@pytest.mark.timeout(300)
async def test_kills_at_random_moments(tools: Scene) -> None:
    chance = random_chance()
    tools.server.configure(**PATIENT)
    kinds = [partial(order, event=f"tools.{tool}") for tool in TOOLS]
    over = asyncio.Event()
    async with asyncio.TaskGroup() as load:
        load.create_task(send_until(over, tools.sender, chance, kinds))
        for _ in range(KILLS):
            await live_and_die(tools.server, chance)
        over.set()
        await tools.server.start()
    await tools.server.settled(within=120)
    assert await tools.server.stop() == 0
    assert check(tools.history(), EXPECTED) == []
    assert_it_was_hit(tools, KILLS // 2)


@pytest.mark.parametrize("example", ["psycopg", "sqlalchemy", "django"])
async def test_example_has_one_effect_however_its_process_is_killed(scene: Scene, example: str) -> None:
    """What the documentation shows, killed within its statement and within its commit."""
    server = scene.server
    use_example(scene, example)
    await server.start()
    await scene.sender.deliver(invoice("first"))
    await server.settled()
    with administrator(scene) as admin:
        admin.execute(TRACES)
        for number, (name, moment) in enumerate([("second", "IMMEDIATE"), ("third", "DEFERRED")], 1):
            hold_back(admin, "payments", moment)
            await scene.sender.deliver(invoice(name))
            await wait_until(lambda: server.database.value(WAITING) == 1, "the attempt waits")
            await server.kill()
            assert count(scene, "payments") == number
            admin.execute("SELECT pg_advisory_unlock(7)")
            await server.start()
            await server.settled()
    assert await server.stop() == 0
    payments = server.database.query("SELECT invoice, cents, raw -> 'object' AS raw FROM payments ORDER BY 1")
    assert payments == [(f"in_{name}", 4200, "invoice") for name in ("first", "second", "third")]
    assert [count(scene, table) for table in ("traces", "outbox_messages")] == [2, 3]


def use_example(scene: Scene, name: str) -> None:
    """An example of the documentation in place of the scenarios' application, as its README says."""
    folder = scene.server.folder
    ours = (folder / "surehook.toml").read_text()
    shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True)
    theirs = tomllib.loads((folder / "surehook.toml").read_text())
    (folder / "surehook.toml").write_text(ours)
    scene.server.configure(app=f"{name}_app:app", providers=theirs["providers"], handlers=SHORT_LEASE)
    if name == "django":
        migrate = ["django", "migrate", "--settings", "settings", "--run-syncdb"]
        subprocess.run([sys.executable, "-m", *migrate], cwd=folder, check=True, timeout=60)


@contextmanager
def administrator(scene: Scene) -> Iterator[psycopg.Connection]:
    """A connection that lets go of its locks when it is closed."""
    with psycopg.connect(scene.backend.settings["database"], autocommit=True) as connection:
        yield connection


def hold_back(admin: psycopg.Connection, table: str, moment: str) -> None:
    """Whoever writes to the table from now on waits: in the statement (IMMEDIATE) or in the commit (DEFERRED)."""
    admin.execute(WAIT.format(table=table, moment=moment).encode())
    admin.execute("SELECT pg_advisory_lock(7)")


def count(scene: Scene, table: str) -> int:
    return int(scene.server.database.value(f"SELECT count(*) AS rows FROM {table}"))
