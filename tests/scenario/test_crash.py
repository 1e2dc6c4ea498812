"""A crash of PostgreSQL: what was acknowledged is on disk.

Whatever PostgreSQL has handed to the kernel survives its death, so the process that hands over what no commit has waited
for is stopped before the events come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psutil
import psycopg
import pytest

from tests.scenario.backends import Backend, on_postgres
from tests.scenario.checker import Rule
from tests.scenario.scene import Scene
from tests.scenario.webhooks import order
from tests.services import PostgresServer

EVENTS = 200


@pytest.fixture(scope="module")
def fragile() -> Iterator[PostgresServer]:
    """Keeps in memory what it may; nobody else uses it."""
    with PostgresServer({"wal_buffers": "16MB", "bgwriter_lru_maxpages": 0}, in_memory=True) as server:
        yield server


@pytest.fixture
def backend(fragile: PostgresServer) -> Iterator[Backend]:
    with fragile.database() as url:
        yield on_postgres(url)


async def test_acknowledged_events_survive_a_crash_of_postgresql(
    scene: Scene, fragile: PostgresServer
) -> None:
    assert await rules_broken_by_a_crash(scene, fragile, "on") == set()


async def test_the_test_sees_the_loss_with_synchronous_commit_off(
    scene: Scene, fragile: PostgresServer
) -> None:
    assert Rule.LOST in await rules_broken_by_a_crash(scene, fragile, "off")


async def rules_broken_by_a_crash(
    scene: Scene, postgres: PostgresServer, synchronous_commit: str
) -> set[Rule]:
    """Crash PostgreSQL when all is acknowledged, and ask the checker what has become of it."""
    server = scene.server
    url = scene.backend.settings["database"]
    server.configure(database=f"{url}?options=-c%20synchronous_commit%3D{synchronous_commit}")
    await server.start()
    await asyncio.to_thread(suspend_wal_writer, postgres)
    answers = await scene.sender.post_all(order(f"o-{number}") for number in range(EVENTS))
    assert {answer.status for answer in answers} == {200}
    await asyncio.to_thread(postgres.kill)
    await asyncio.to_thread(postgres.start)

    await server.settled()
    assert await server.stop() == 0
    return {violation.rule for violation in scene.violations()}


def suspend_wal_writer(postgres: PostgresServer) -> None:
    """From now on nothing reaches the disk by itself, only what a commit waits for. What is there stays."""
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        found = connection.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")
        for (pid,) in found.fetchall():
            psutil.Process(pid).suspend()
