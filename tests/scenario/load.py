"""Load while processes are killed: what is sent, how patient the installation is, and whether the kills have met it."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Callable, Collection
from typing import Any

from tests.scenario.scene import Scene
from tests.scenario.sender import Sender
from tests.scenario.webhooks import Webhook, invoice, order, push

#: How many send at the same time.
SENDERS = 8

Kinds = Collection[Callable[[str], Webhook]]

#: What is sent: with and without a transaction, on the loop and in threads, from three kinds of provider; and what takes
#: long enough to be met by a kill.
KINDS: Kinds = (
    lambda id: order(id, "order.paid"),
    lambda id: order(id, "order.packed"),
    lambda id: order(id, "order.seen"),
    lambda id: order(id, "order.filed"),
    lambda id: order(id, "order.paid", to="store"),
    *[lambda id: order(id, "order.pondered", pause=0.4)] * 4,
    invoice,
    push,
)

#: Nothing is given up on: neither what was killed often nor what was tried often is to blame.
PATIENT: dict[str, dict[str, Any]] = {
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


def random_chance() -> random.Random:
    """Another one for every run; SCENARIO_SEED repeats one."""
    chance = random.Random(seed := int(os.environ.get("SCENARIO_SEED", random.randrange(2**32))))
    sys.stdout.write(f"SCENARIO_SEED={seed}\n")
    return chance


async def send_until(
    over: asyncio.Event, sender: Sender, chance: random.Random, kinds: Kinds = KINDS, *, pause: float = 0
) -> None:
    """Send from all sides, each one event after the other until it is acknowledged, and some several times.

    ``pause``: the seconds between two, at most.
    """

    async def send(number: int, chance: random.Random) -> None:
        count = 0
        while not over.is_set():
            count += 1
            webhook = chance.choice([*kinds])(f"{number}-{count}")
            copies = chance.choice([1, 1, 1, 2, 3])
            await asyncio.gather(*(sender.deliver(webhook) for _ in range(copies)))
            await asyncio.sleep(
                chance.uniform(0, pause)
            )  # not to wait for anything: nobody sends all the time

    async with asyncio.TaskGroup() as group:
        for number in range(SENDERS):
            group.create_task(send(number, random.Random(chance.random())))


def assert_it_was_hit(scene: Scene, least: int) -> None:
    """The kills have met requests, handlers and deliveries: otherwise the test has shown nothing."""
    history, value = scene.history(), scene.server.database.value
    seen = {
        "events": len(history.events),
        "duplicates": sum(event.duplicates for event in history.events),
        "requests without an answer": sum(request.status is None for request in history.requests),
        "attempts that were killed": value("SELECT sum(lost_leases) AS lost FROM inbox_events"),
        "deliveries that were killed": value("SELECT sum(lost_leases) AS lost FROM outbox_messages"),
        "deliveries that were repeated": len(history.deliveries) - len(history.messages),
    }
    sys.stdout.write(f"{seen}\n")
    assert [name for name, count in seen.items() if count < least] == []
