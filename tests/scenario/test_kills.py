"""Processes that die or stand still at any moment: nothing acknowledged is lost, nothing happens twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenario.installation import Installation
from tests.scenario.scene import Scene, installation
from tests.scenario.sender import Sender
from tests.scenario.waiting import wait_until
from tests.scenario.webhooks import Webhook, invoice, order, push

KILLS = 50
SENDERS = 8

#: What is sent: with and without a transaction, on the loop and in threads, from three kinds of provider.
KINDS: list[Callable[[str], Webhook]] = [
    lambda id: order(id, "order.paid"),
    lambda id: order(id, "order.packed"),
    lambda id: order(id, "order.seen"),
    lambda id: order(id, "order.filed"),
    lambda id: order(id, "order.paid", to="store"),
    invoice,
    push,
]

#: Nothing is given up on: neither what was killed often nor what was tried often is to blame.
PATIENT = {
    "handlers": {
        "timeout": "1s",
        "transaction_budget": "400ms",
        "lease": "1500ms",
        "heartbeat": "400ms",
        "poison_after": 1000,
        "retries": ["100ms"] * 100,
    },
    "destinations": {name: {"retries": ["100ms"] * 100} for name in ("ledger", "store")},
}


@pytest.mark.timeout(420)
async def test_fifty_kills_lose_and_repeat_nothing(scene: Scene) -> None:
    chance = random.Random(seed := int(os.environ.get("SCENARIO_SEED", random.randrange(2**32))))
    sys.stdout.write(f"SCENARIO_SEED={seed}\n")
    scene.server.configure(**PATIENT)
    over = asyncio.Event()
    async with asyncio.TaskGroup() as load:
        for number in range(SENDERS):
            load.create_task(send(scene.sender, number, random.Random(chance.random()), over))
        for _ in range(KILLS):
            await live_and_die(scene.server, chance)
        over.set()
        await scene.server.start()
    await scene.server.settled(within=120)
    assert await scene.server.stop() == 0

    assert scene.violations() == []
    assert_it_was_hit(scene)


@pytest.mark.parametrize("event", ["order.held", "order.held_in_thread"])
async def test_paused_worker_that_lost_its_lease_writes_nothing(
    scene: Scene, tmp_path: Path, event: str
) -> None:
    """A process that stands still for longer than its lease finds, when it goes on, that another one was faster."""
    paused, other = scene.server, second_process(scene, tmp_path / "other")
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
    server.configure(
        handlers={"timeout": "500ms", "transaction_budget": "300ms", "lease": "1s", "heartbeat": "300ms"}
    )
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


def second_process(scene: Scene, folder: Path) -> Installation:
    """Another process that works on the same database."""
    folder.mkdir()
    other = installation(folder, scene.ledger, scene.store)
    other.configure(database=f"sqlite:///../{scene.server.folder.name}/surehook.db")
    other.database = scene.server.database
    return other


async def live_and_die(server: Installation, chance: random.Random) -> None:
    """One life of the process: most end under load, some while it starts."""
    await server.start(until_ready=chance.random() < 0.8)
    await asyncio.sleep(chance.uniform(0, 0.8))  # not to wait for anything: it is the moment that is random
    await server.kill()


async def send(sender: Sender, number: int, chance: random.Random, over: asyncio.Event) -> None:
    """Send one event after the other, each until it is acknowledged and some several times."""
    count = 0
    while not over.is_set():
        count += 1
        webhook = chance.choice(KINDS)(f"{number}-{count}")
        copies = chance.choice([1, 1, 1, 2, 3])
        await asyncio.gather(*(sender.deliver(webhook) for _ in range(copies)))


def assert_it_was_hit(scene: Scene) -> None:
    """The kills have met requests, handlers and deliveries: otherwise the test has shown nothing."""
    history, value = scene.history(), scene.server.database.value
    seen = {
        "events": len(history.events),
        "duplicates": sum(event.duplicates for event in history.events),
        "requests without an answer": sum(request.status is None for request in history.requests),
        "attempts that were killed": value("SELECT sum(lost_leases) FROM inbox_events"),
        "deliveries that were killed": value("SELECT sum(lost_leases) FROM outbox_messages"),
        "deliveries that were repeated": len(history.deliveries) - len(history.messages),
    }
    sys.stdout.write(f"{seen}\n")
    assert [name for name, count in seen.items() if count < KILLS // 2] == []
