"""The main path and its repairs, over real processes and real HTTP."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from surehook.ids import EVENT_PREFIX, typeid
from tests.scenario.history import Delivery
from tests.scenario.installation import SHORT_LEASE, Note
from tests.scenario.scene import Scene
from tests.scenario.waiting import wait_until
from tests.scenario.webhooks import Webhook, invoice, order, push

#: The least part of a wait that the jitter of the retry policies leaves.
JITTER = 0.8


@pytest.mark.parametrize("webhook", [order("o-1"), invoice("evt_1"), push("d-1")], ids=lambda w: w.provider)
async def test_same_webhook_five_times_has_one_effect(scene: Scene, webhook: Webhook) -> None:
    await scene.server.start()
    first = await scene.sender.post(webhook)
    again = await scene.sender.post_all([webhook] * 4)

    assert [first.status, first.duplicate] == [200, False]
    assert [(answer.status, answer.duplicate) for answer in again] == [(200, True)] * 4
    await scene.server.settled()
    assert await scene.server.stop() == 0
    assert scene.violations() == []
    assert scene.server.database.event(webhook.external_id)["duplicates"] == 4
    assert len(scene.history().effects) == len(scene.ledger.deliveries()) == 1


async def test_same_webhook_five_times_at_once_has_one_effect(scene: Scene) -> None:
    await scene.server.start()
    answers = await scene.sender.post_all([order("o-1")] * 5)

    assert (
        sorted((answer.status, answer.duplicate) for answer in answers) == [(200, False)] + [(200, True)] * 4
    )
    await scene.server.settled()
    assert await scene.server.stop() == 0
    assert scene.violations() == []


@pytest.mark.parametrize("hold", ["before", "inside"])
@pytest.mark.parametrize("event", ["order.held", "order.held_in_thread"])
async def test_killed_worker_resumes_without_duplicates(scene: Scene, event: str, hold: str) -> None:
    server = scene.server
    server.configure(handlers=SHORT_LEASE)
    await server.start()
    await scene.sender.post(order("o-1", event, hold=hold))
    await wait_until(lambda: server.notes("held"), "the handler is within its work")
    await server.kill()

    left = server.database.event("o-1")
    assert [left["state"], left["attempts"], server.database.effects("o-1")] == ["PROCESSING", 1, 0]
    server.touch("gate")
    await server.start()
    done = await server.in_state("o-1", "PROCESSED")
    assert [done["attempts"], done["lost_leases"], server.database.effects("o-1")] == [2, 1, 1]
    first, second = server.notes("held")
    assert first.at < left["lease_until"] <= second.at
    await server.settled()
    assert await server.stop() == 0
    assert scene.violations() == []


async def test_heartbeat_takes_no_finished_attempt_for_a_lost_one(scene: Scene) -> None:
    """A heartbeat that is on its way while an attempt ends finds the lease gone, because nobody needs it any more."""
    server = scene.server
    server.configure(handlers={"heartbeat": "10ms"})
    await server.start()
    kinds = ["order.paid", "order.packed", "order.seen", "order.filed"]
    await scene.sender.post_all(order(f"o-{n}", kinds[n % len(kinds)]) for n in range(400))
    await server.settled()
    assert await server.stop() == 0

    assert server.database.value("SELECT sum(lost_leases) FROM inbox_events") == 0
    assert "lease_lost" not in (server.folder / "run.err").read_text()
    assert scene.violations() == []


async def test_failing_handler_is_retried_with_backoff(scene: Scene) -> None:
    scene.server.configure(handlers={"retries": ["300ms", "600ms", "1200ms"]})
    await scene.server.start()
    await scene.sender.post(order("o-1", "order.failing", failures=3))
    done = await scene.server.in_state("o-1", "PROCESSED")

    waits = gaps(scene.server.notes("run"))
    assert [wait >= least * JITTER for wait, least in zip(waits, (300, 600, 1200), strict=True)] == [
        True
    ] * 3, waits
    failures = scene.server.database.failures(done["id"])
    assert [failure["message"] for failure in failures] == [f"failure {n} of 3" for n in (1, 2, 3)]
    assert [failure["attempt"] for failure in failures] == [1, 2, 3]
    assert done["attempts"] == 4
    await scene.server.settled()
    assert await scene.server.stop() == 0
    assert scene.violations() == []  # what the failed attempts wrote and published is gone


async def test_attempts_exceeded_makes_it_dead(scene: Scene) -> None:
    scene.server.configure(handlers={"retries": ["100ms", "100ms"]})
    await scene.server.start()
    await scene.sender.post(order("o-1", "order.failing", failures=99))
    dead = await scene.server.in_state("o-1", "DEAD")

    assert [dead["reason"], dead["attempts"]] == ["EXHAUSTED", 3]
    assert "failure 3 of 99" in dead["last_error"]
    assert len(scene.server.notes("run")) == len(scene.server.database.failures(dead["id"])) == 3
    assert scene.server.database.effects("o-1") == 0
    assert scene.server.database.messages(dead["id"]) == []
    listed = await scene.server.command("events", "list", "--state", "dead", "--json")
    assert [event["external_id"] for event in json.loads(listed.out)] == ["o-1"]
    assert await scene.server.stop() == 0


async def test_rejected_event_is_dead_at_once(scene: Scene) -> None:
    await scene.server.start()
    await scene.sender.post(order("o-1", "order.refused"))
    dead = await scene.server.in_state("o-1", "DEAD")

    assert [dead["reason"], dead["attempts"]] == ["REJECTED", 1]
    assert "this order is not ours" in dead["last_error"]
    assert len(scene.server.notes("run")) == 1
    assert await scene.server.stop() == 0


async def test_replay_of_a_dead_event_processes_it(scene: Scene) -> None:
    server = scene.server
    server.configure(handlers={"retries": []})
    await server.start()
    await scene.sender.post(order("o-1", "order.broken"))
    dead = await server.in_state("o-1", "DEAD")
    name = typeid(EVENT_PREFIX, dead["id"])

    unexplained = await server.command("events", "replay", name)
    assert unexplained.code == 2
    assert "--reason" in unexplained.err
    server.touch("mended")
    replayed = await server.command("events", "replay", name, "--reason", "mended the handler")
    assert replayed.code == 0, replayed
    done = await server.in_state("o-1", "PROCESSED")

    assert [done["attempts"], done["replays"], done["reason"]] == [1, 1, None]
    ((reason, subject),) = server.database.query("SELECT reason, subject FROM audit_log")
    assert [reason, subject] == ["mended the handler", name]
    shown = await server.command("events", "show", name)
    assert "replay.event by" in shown.out
    assert "mended the handler" in shown.out
    await server.settled()
    assert await server.stop() == 0
    assert scene.violations() == []


async def test_failing_destination_is_retried_then_sent(scene: Scene) -> None:
    scene.ledger.script.extend([500, 503])
    await scene.server.start()
    await scene.sender.post(order("o-1"))
    await scene.server.settled()

    event = scene.server.database.event("o-1")
    (message,) = scene.server.database.messages(event["id"])
    assert [message["state"], message["attempts"]] == ["SENT", 3]
    assert [failure["status"] for failure in scene.server.database.failures(message["id"])] == [500, 503]
    tries = scene.ledger.deliveries()
    assert [delivery.status for delivery in tries] == [500, 503, 204]
    assert len({(delivery.id, delivery.sha256) for delivery in tries}) == 1
    waits = gaps(tries)
    assert [wait >= least * JITTER for wait, least in zip(waits, (200, 400), strict=True)] == [True] * 2, (
        waits
    )
    assert await scene.server.stop() == 0
    assert scene.violations() == []


def gaps(moments: list[Note] | list[Delivery]) -> list[int]:
    """The milliseconds between one and the next."""
    return [later - earlier for earlier, later in pairwise(moment.at for moment in moments)]
