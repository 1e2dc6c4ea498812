"""Many processes on one PostgreSQL, all of which die again and again, and the servers below them too."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterator
from functools import partial

import pytest

from tests.scenario.backends import Backend, on_postgres
from tests.scenario.cluster import EXCUSED, ROLES, Cluster, Killer
from tests.scenario.load import KINDS, PATIENT, Kinds, assert_it_was_hit, random_chance, send_until
from tests.scenario.scene import Scene
from tests.scenario.waiting import wait_until
from tests.scenario.webhooks import order
from tests.services import PostgresServer, RedisServer

KILLS = 100
CRASHES = 10
#: So many kills, with a crash of each server among them; then something must get through, from the sender to a receiver.
BURST = 8
#: One in so many kills is for a supervisor.
SUPERVISOR_EVERY = 16

#: Each worker takes on what its connections can carry, so that no handler times out waiting for one.
SCALED = {
    "handlers": {**PATIENT["handlers"], "concurrency": 20},
    "postgres": {"connections": 20},
    "server": {"drain_timeout": "2s"},
}

#: Also what takes its time, so that kills find it at work.
SCALED_KINDS: Kinds = (
    *KINDS,
    *[lambda id: order(id, "order.slow", pause=0.2)] * 2,
    *[lambda id: order(id, "order.slow_in_thread", pause=0.2)] * 2,
)


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """One that may crash: nobody else uses it."""
    with PostgresServer({"max_connections": 400}, in_memory=True) as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """The same; where it is not the queue, nobody may notice what happens to it."""
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["postgresql-database", "postgresql-redis"])
def backend(
    request: pytest.FixtureRequest, own_postgres: PostgresServer, own_redis: RedisServer
) -> Iterator[Backend]:
    """On servers that may crash."""
    with own_postgres.database() as url:
        yield on_postgres(url, own_redis if request.param.endswith("redis") else None)


@pytest.mark.timeout(600)
async def test_hundred_kills_and_twenty_crashes_lose_and_repeat_nothing(
    scene: Scene, own_postgres: PostgresServer, own_redis: RedisServer
) -> None:
    chance = random_chance()
    scene.server.configure(**{**PATIENT, **SCALED})
    over = asyncio.Event()
    async with Cluster(scene.server) as cluster:
        killer = Killer(cluster, chance, supervisor_every=SUPERVISOR_EVERY)
        async with asyncio.TaskGroup() as group:
            group.create_task(send_until(over, scene.sender, chance, SCALED_KINDS, pause=0.1))
            crashes = 0
            while killer.count < KILLS or crashes < CRASHES:
                await asyncio.gather(
                    kill_some(killer, chance),
                    *(crash(server, chance) for server in (own_postgres, own_redis) if crashes < CRASHES),
                )
                crashes += 1
                await something_gets_through(scene)
            over.set()
        await scene.server.settled(within=120)
        assert await cluster.stop() == [0] * len(ROLES)
        assert cluster.members() == []

    sys.stdout.write(f"killed: {killer.killed}, ends of supervisors: {cluster.ends}\n")
    assert set(cluster.ends) <= EXCUSED
    assert scene.violations() == []
    assert_it_was_hit(scene, KILLS // 20)
    assert cluster.told("queue.recovered"), "nobody has noticed that the queue was gone"


async def kill_some(killer: Killer, chance: random.Random) -> None:
    """One soon after the other."""
    for _ in range(BURST):
        killer.kill()
        await asyncio.sleep(chance.uniform(0, 0.25))  # the moment is random


async def crash(server: PostgresServer | RedisServer, chance: random.Random) -> None:
    """Crash while processes are killed, and come back; Redis is empty then."""
    await asyncio.sleep(chance.uniform(0, 1))  # the moment is random, and so is how long it is gone
    await asyncio.to_thread(
        partial(server.stop, "immediate") if isinstance(server, PostgresServer) else server.kill
    )
    await asyncio.sleep(chance.uniform(0, 0.5))
    await asyncio.to_thread(server.start)


async def something_gets_through(scene: Scene) -> None:
    """Wait until a receiver has got something new."""
    before = scene.ledger.count + scene.store.count
    await wait_until(
        lambda: scene.ledger.count + scene.store.count > before, "something gets through", within=60
    )
