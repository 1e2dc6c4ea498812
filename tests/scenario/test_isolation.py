"""Failure stays where it is: slow handlers and dead destinations leave ingest, and each other, alone."""

from __future__ import annotations

import pytest

from tests.scenario.receiver import HANG
from tests.scenario.scene import Scene
from tests.scenario.waiting import wait_until
from tests.scenario.webhooks import order

POSTS = 200
#: Handlers may take their time.
PATIENT = {"timeout": "40s", "transaction_budget": "1s", "lease": "60s"}
#: Seconds; who waited for a handler or a destination waited 30. A slow answer of ours is a 503 before that.
PROMPT = 8.0
#: What ends a transaction that stays open, and after how many milliseconds at the earliest.
ENDED_BY = {
    "sqlite": ("TransactionError", "budget of 1000 ms", 900),
    "postgresql": ("HandlerTimeout", "did not return within 2000 ms", 1_900),
}


async def test_sleeping_handler_leaves_ingest_alone(scene: Scene) -> None:
    server = scene.server
    server.configure(handlers=PATIENT)
    await server.start()
    await scene.sender.post_all(order(f"blocking-{n}", "order.blocking") for n in range(10))
    await wait_until(lambda: len(server.notes("held")) == 10, "every thread blocks")
    await scene.sender.post_all(order(f"sleeping-{n}", "order.sleeping") for n in range(60))
    await wait_until(lambda: len(server.notes("held")) == 50, "every place for a handler is taken")

    await assert_ingest_is_prompt(scene)
    assert server.notes("woken") == []
    assert server.database.value("SELECT max(lost_leases) FROM inbox_events") == 0


async def test_hanging_destination_leaves_ingest_alone(scene: Scene) -> None:
    scene.server.configure(destinations={"ledger": {"timeout": "30s"}})
    scene.ledger.otherwise = HANG
    await scene.server.start()
    await scene.sender.post_all(order(f"hanging-{n}") for n in range(30))
    await wait_until(
        lambda: len(scene.ledger.deliveries()) >= 10, "every place for a delivery to it is taken"
    )

    await assert_ingest_is_prompt(scene, to="store")
    await wait_until(
        lambda: len(scene.store.deliveries()) == POSTS, "the other destination gets all of its own"
    )
    assert len(scene.ledger.deliveries()) == 10


@pytest.mark.parametrize("event", ["order.hoarding", "order.hoarding_in_thread"])
async def test_handler_that_holds_its_transaction_is_rolled_back(scene: Scene, event: str) -> None:
    """On SQLite by its budget, for it keeps every writer waiting; on PostgreSQL, where it does not, by its timeout."""
    server = scene.server
    server.configure(handlers={"timeout": "2s", "transaction_budget": "1s", "lease": "6s", "retries": ["1h"]})
    await server.start()
    await scene.sender.post(order("hoarder", event))
    await wait_until(lambda: server.notes("held"), "the transaction is open")

    await assert_ingest_is_prompt(scene)
    row = await server.in_state("hoarder", "RETRYING")
    (failure,) = server.database.failures(row["id"])
    error, message, least = ENDED_BY[scene.backend.name.partition("-")[0]]
    assert failure["error_type"].endswith(error)
    assert message in failure["message"]
    assert least <= failure["failed_at"] - failure["started_at"] < 10_000
    assert server.database.effects("hoarder") == 0
    await wait_until(
        lambda: len(scene.ledger.deliveries()) == POSTS, "the others are processed and delivered"
    )


async def assert_ingest_is_prompt(scene: Scene, *, to: str = "ledger") -> None:
    """All is answered 200, and soon."""
    answers = await scene.sender.post_all(order(f"prompt-{n}", to=to) for n in range(POSTS))
    assert {answer.status for answer in answers} == {200}
    assert max(answer.seconds for answer in answers) < PROMPT
