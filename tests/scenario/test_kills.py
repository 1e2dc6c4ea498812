"""Processes that die or stand still at any moment: nothing acknowledged is lost, nothing happens twice."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path

import pytest

from tests.scenario.backends import BACKENDS, SQLITE_ONLY
from tests.scenario.installation import SHORT_LEASE, Installation
from tests.scenario.load import PATIENT, assert_it_was_hit, random_chance, send_until
from tests.scenario.scene import Scene, installation
from tests.scenario.waiting import wait_until
from tests.scenario.webhooks import order


@SQLITE_ONLY
@pytest.mark.timeout(420)
async def test_fifty_kills_lose_and_repeat_nothing(scene: Scene) -> None:
    await assert_kills_do_no_harm(scene, 50)


@pytest.mark.parametrize("backend", BACKENDS[1:], indirect=True)
async def test_ten_kills_lose_and_repeat_nothing_anywhere(scene: Scene) -> None:
    await assert_kills_do_no_harm(scene, 10)


@pytest.mark.parametrize("event", ["order.held", "order.held_in_thread"])
async def test_paused_worker_that_lost_its_lease_writes_nothing(
    scene: Scene, tmp_path: Path, event: str
) -> None:
    """A process that stands still for longer than its lease finds, when it goes on, that another one was faster."""
    paused, other = scene.server, second_process(scene, tmp_path / "other")
    for each in (paused, other):
        each.configure(handlers=SHORT_LEASE)
    await paused.start()
    await scene.sender.post(order("o-1", event, hold="before"))
    await wait_until(lambda: paused.notes("held"), "the handler is within its work")
    paused.signal(signal.SIGSTOP)
    paused.touch("gate")
    other.touch("gate")
    try:
        await other.start()
        await other.in_state("o-1", "PROCESSED")
        paused.signal(signal.SIGCONT)
        assert await paused.stop() == 0
        await other.settled()
        assert await other.stop() == 0
    finally:
        await other.kill()

    assert scene.violations() == []
    assert len(paused.notes("held")) == len(other.notes("held")) == 1


async def test_event_that_kills_its_worker_is_given_up_on(scene: Scene) -> None:
    server = scene.server
    server.configure(handlers=SHORT_LEASE)
    await server.start()
    deadly = asyncio.create_task(scene.sender.post(order("deadly", "order.deadly")))
    for deaths in range(1, 4):
        assert await server.ended() == -signal.SIGKILL
        assert len(server.notes("run")) == deaths
        await server.start(until_ready=False)
    dead = await server.in_state("deadly", "DEAD")
    await wait_until(server.ready, "it lives on")

    assert [dead["reason"], dead["lost_leases"]] == ["POISON", 3]
    assert (await scene.sender.post(order("o-1"))).status == 200
    await server.in_state("o-1", "PROCESSED")
    assert len(server.notes("run")) == 3
    assert await server.stop() == 0
    await deadly


async def assert_kills_do_no_harm(scene: Scene, kills: int) -> None:
    """Kill it so many times under load; at the end all is as if nothing had happened."""
    chance = random_chance()
    scene.server.configure(**PATIENT)
    over = asyncio.Event()
    async with asyncio.TaskGroup() as load:
        load.create_task(send_until(over, scene.sender, chance))
        for _ in range(kills):
            await live_and_die(scene.server, chance)
        over.set()
        await scene.server.start()
    await scene.server.settled(within=120)
    assert await scene.server.stop() == 0

    assert scene.violations() == []
    assert_it_was_hit(scene, kills // 2)


def second_process(scene: Scene, folder: Path) -> Installation:
    """Another process that works on the same database."""
    return installation(folder, scene.ledger, scene.store, backend=scene.backend)


async def live_and_die(server: Installation, chance: random.Random) -> None:
    """One life of the process: most end under load, some while it starts."""
    await server.start(until_ready=chance.random() < 0.8)
    await asyncio.sleep(chance.uniform(0, 0.8))  # not to wait for anything: it is the moment that is random
    await server.kill()
