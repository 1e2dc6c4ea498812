"""The storage seam's specification as tests: every adapter passes this file unchanged."""

from __future__ import annotations

import asyncio
from itertools import product
from typing import Any

import msgspec
import pytest

from surehook.clock import ManualClock, Millis
from surehook.errors import LeaseLost
from surehook.ids import EventId, MessageId, uuid7
from surehook.model import (
    Accepted,
    Arrival,
    Claim,
    IgnoredEvent,
    MessageClaim,
    MessageSettlement,
    Rejection,
    RowFilter,
)
from surehook.states import (
    DISCARDABLE_EVENTS,
    DISCARDABLE_MESSAGES,
    EVENT_MOVES,
    FINISHED_EVENTS,
    FINISHED_MESSAGES,
    MESSAGE_MOVES,
    REPLAYABLE_EVENTS,
    REPLAYABLE_MESSAGES,
    EventState,
    MessageState,
    Reason,
)
from surehook.storage import Database, Reader, Storage, UnitOfWork
from surehook.storage.operators import audit_hash
from tests.builders import NOW, action, arrival, batch, failure, message, settlement

LEASE = 60_000


async def accept_one(storage: Storage, **changes: Any) -> Accepted:
    [[accepted]] = await storage.accept([arrival(**changes)])
    return accepted


async def claim_one(storage: Storage, now: int = NOW) -> Claim:
    [claim] = await storage.claim(1, Millis(now), Millis(now + LEASE))
    return claim


async def bring_event(storage: Storage, state: EventState, external_id: str = "evt_1") -> EventId:
    """An event in a state, brought there by the seam's own verbs."""
    accepted = await accept_one(storage, external_id=external_id, body=external_id.encode())
    if state is EventState.RECEIVED:
        return accepted.id
    claim = await claim_one(storage)
    if state is EventState.RETRYING:
        await storage.settle([settlement(claim, state, due_at=Millis(NOW), failure=failure())])
    elif state in {EventState.DEAD, EventState.DISCARDED}:
        await storage.settle([settlement(claim, EventState.DEAD, reason=Reason.EXHAUSTED, failure=failure())])
    elif state is not EventState.PROCESSING:
        await storage.settle([settlement(claim, state)])
    if state is EventState.DISCARDED:
        await storage.discard_events([accepted.id], action())
    return accepted.id


async def pending_message(storage: Storage, external_id: str = "evt_1") -> MessageId:
    await accept_one(storage, external_id=external_id, body=external_id.encode())
    written = message()
    await storage.settle([settlement(await claim_one(storage), messages=(written,))])
    return written.id


async def claim_message(storage: Storage, now: int = NOW) -> MessageClaim:
    [claim] = await storage.claim_messages("ledger", 1, Millis(now), Millis(now + LEASE))
    return claim


def end(claim: MessageClaim, state: Any, **changes: Any) -> MessageSettlement:
    return MessageSettlement(id=claim.id, token=claim.token, state=state, at=NOW, **changes)


async def bring_message(storage: Storage, state: MessageState) -> MessageId:
    """A message in a state, brought there by the seam's own verbs."""
    id = await pending_message(storage)
    if state is MessageState.PENDING:
        return id
    claim = await claim_message(storage)
    if state is MessageState.RETRYING:
        await storage.settle_messages([end(claim, state, due_at=NOW, failure=failure())])
    elif state in {MessageState.DEAD, MessageState.DISCARDED}:
        await storage.settle_messages(
            [end(claim, MessageState.DEAD, reason=Reason.EXHAUSTED, failure=failure())]
        )
    elif state is MessageState.SENT:
        await storage.settle_messages([end(claim, state)])
    if state is MessageState.DISCARDED:
        await storage.discard_messages([id], action())
    return id


async def state_of(reader: Reader, id: EventId) -> EventState:
    row = await reader.event(id)
    assert row is not None
    return row.state


# accept


async def test_accept_stores_event_and_payload_byte_exact(storage: Storage, reader: Reader) -> None:
    body = b'{"id": "evt_1", "name": "\xc3\xa9\\u0000 \xff"}\r\n'
    accepted = await accept_one(storage, body=body, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    event = await reader.event(accepted.id)
    assert event is not None
    assert (event.state, event.attempts, event.provider, event.external_id) == (
        "RECEIVED",
        0,
        "stripe",
        "evt_1",
    )
    assert event.traceparent is not None
    payload = await reader.payload(event.payload_id)
    assert payload is not None
    assert payload.body == body
    assert payload.headers == (("content-type", "application/json"),)
    assert payload.secret == "env:STRIPE_SECRET"


async def test_a_known_id_is_a_duplicate_and_counted(storage: Storage, reader: Reader) -> None:
    first = await accept_one(storage)
    again = [await accept_one(storage) for _ in range(4)]
    assert all(each == Accepted(first.id, True, EventState.RECEIVED) for each in again)
    event = await reader.event(first.id)
    assert event is not None
    assert event.duplicates == 4
    assert (await reader.counts()).events == {"RECEIVED": 1}


async def test_a_duplicate_in_the_same_call_is_seen(storage: Storage) -> None:
    [[one], [two]] = await storage.accept([arrival(), arrival()])
    assert (one.duplicate, two.duplicate) == (False, True)
    assert one.id == two.id


async def test_concurrent_accepts_of_one_id_store_it_once(storage: Storage, reader: Reader) -> None:
    results = await asyncio.gather(*(storage.accept([arrival()]) for _ in range(50)))
    fresh = [accepted for [[accepted]] in results if not accepted.duplicate]
    assert len(fresh) == 1
    assert {accepted.id for [[accepted]] in results} == {fresh[0].id}
    assert (await reader.counts()).duplicates == 49


async def test_the_same_id_of_another_provider_is_another_event(storage: Storage, reader: Reader) -> None:
    await storage.accept([arrival(), arrival(provider="github")])
    assert (await reader.counts()).events == {"RECEIVED": 2}


async def test_a_payload_of_duplicates_only_is_not_kept(storage: Storage, reader: Reader) -> None:
    await accept_one(storage)
    second = arrival()
    await storage.accept([second])
    assert await reader.payload(second.payload.id) is None


async def test_the_same_id_with_another_body_is_a_duplicate_and_a_rejection(
    storage: Storage, reader: Reader
) -> None:
    first = await accept_one(storage, body=b"one")
    again = await accept_one(storage, body=b"two")
    assert again.duplicate
    [row] = await reader.rejections(RowFilter())
    rejection = row.rejection
    assert rejection.reason is Reason.ID_REUSED
    assert rejection.external_id == "evt_1"
    assert rejection.body_size == 3
    event = await reader.event(first.id)
    assert event is not None
    payload = await reader.payload(event.payload_id)
    assert payload is not None
    assert payload.body == b"one"


async def test_a_request_with_several_events_is_one_payload_and_a_row_for_each(
    storage: Storage, reader: Reader
) -> None:
    [accepted] = await storage.accept([batch({"a": b"{}", "b": b"[1]", "c": b"{}"})])
    rows = [await reader.event(each.id) for each in accepted]
    assert [(row.external_id, row.item) for row in rows if row] == [("a", 0), ("b", 1), ("c", 2)]
    assert len({row.payload_id for row in rows if row}) == 1
    claims = await storage.claim(10, NOW, Millis(NOW + LEASE))
    assert [(each.external_id, each.part, each.body) for each in claims] == [
        ("a", "/0", b"[{},[1],{}]"),
        ("b", "/1", b"[{},[1],{}]"),
        ("c", "/2", b"[{},[1],{}]"),
    ]


async def test_an_event_among_several_is_known_by_its_own_bytes(storage: Storage, reader: Reader) -> None:
    """Another request may hold it beside others: that is a duplicate, and its id is reused only if its part differs."""
    [first] = await storage.accept([batch({"a": b"{}", "b": b"[1]"})])
    [second] = await storage.accept([batch({"c": b"[2]", "b": b"[1]"})])
    [third] = await storage.accept([batch({"b": b"[3]"})])
    assert [each.duplicate for each in (*first, *second, *third)] == [False, False, False, True, True]
    assert second[1].id == third[0].id == first[1].id
    [reused] = [row.rejection for row in await reader.rejections(RowFilter())]
    assert (reused.reason, reused.external_id) == (Reason.ID_REUSED, "b")


async def test_one_event_twice_in_a_request_is_stored_once(storage: Storage) -> None:
    whole = batch({"a": b"{}", "b": b"{}"})
    same = msgspec.structs.replace(
        whole, events=tuple(msgspec.structs.replace(each, external_id="a") for each in whole.events)
    )
    [accepted] = await storage.accept([same])
    assert sorted(each.duplicate for each in accepted) == [False, True]
    assert len({each.id for each in accepted}) == 1


async def test_a_part_under_another_unsigned_id_is_suspect(storage: Storage) -> None:
    await storage.accept([batch({"a": b"{}", "b": b"[1]"}, id_is_signed=False)])
    [again] = await storage.accept([batch({"x": b"[1]", "y": b"[2]"}, id_is_signed=False)])
    assert [each.state for each in again] == ["DEAD", "RECEIVED"]


async def test_the_same_body_under_another_unsigned_id_is_suspect(storage: Storage, reader: Reader) -> None:
    await accept_one(storage, external_id="a", id_is_signed=False)
    copy = await accept_one(storage, external_id="b", id_is_signed=False)
    assert (copy.duplicate, copy.state) == (False, EventState.DEAD)
    event = await reader.event(copy.id)
    assert event is not None
    assert event.reason is Reason.REPLAY_SUSPECT
    assert await storage.claim(10, NOW, Millis(NOW + LEASE), [copy.id]) == []


async def test_the_same_body_without_its_unsigned_id_is_suspect(storage: Storage) -> None:
    await accept_one(storage, external_id="a", id_is_signed=False)
    copy = await accept_one(storage, external_id="hash", id_is_signed=False, weak=True)
    assert (copy.duplicate, copy.state) == (False, EventState.DEAD)


async def test_a_weak_id_that_comes_again_is_a_duplicate(storage: Storage) -> None:
    first = await accept_one(storage, external_id="hash", id_is_signed=False, weak=True)
    assert first.state is EventState.RECEIVED
    assert (await accept_one(storage, external_id="hash", id_is_signed=False, weak=True)).duplicate


@pytest.mark.parametrize(
    "changes",
    [
        {"id_is_signed": True},
        {"id_is_signed": False, "now": NOW + 24 * 3_600_000 + 1},
        {"id_is_signed": False, "provider": "shopify"},
        {"id_is_signed": False, "body": b"other"},
    ],
)
async def test_what_is_not_suspect(storage: Storage, changes: dict[str, Any]) -> None:
    await accept_one(storage, external_id="a", id_is_signed=False)
    assert (await accept_one(storage, external_id="b", **changes)).state is EventState.RECEIVED


async def test_an_unusable_event_is_born_dead(storage: Storage, reader: Reader) -> None:
    accepted = await accept_one(storage, dead=Reason.UNPARSABLE)
    assert accepted.state is EventState.DEAD
    assert await storage.claim(10, NOW, Millis(NOW + LEASE)) == []
    assert (await reader.counts()).events == {"DEAD": 1}


# claim, extend, settle


async def test_claim_takes_the_longest_due_first_and_counts_the_attempt(
    storage: Storage, reader: Reader
) -> None:
    for number in (3, 1, 2):
        await storage.accept([arrival(f"e{number}", str(number).encode(), now=Millis(NOW + number))])
    claims = await storage.claim(2, Millis(NOW + 10), Millis(NOW + LEASE))
    assert [claim.external_id for claim in claims] == ["e1", "e2"]
    assert {(claim.attempt, claim.token, claim.lost_leases) for claim in claims} == {(1, 1, 0)}
    assert claims[0].body == b"1"
    assert claims[0].content_type == "application/json"
    assert await state_of(reader, claims[0].id) is EventState.PROCESSING


async def test_a_large_body_does_not_come_with_the_claim(storage: Storage, reader: Reader) -> None:
    await accept_one(storage, body=b"x" * 100_000)
    claim = await claim_one(storage)
    assert claim.body is None
    payload = await reader.payload(claim.payload_id)
    assert payload is not None
    assert len(payload.body) == 100_000


async def test_what_is_not_due_is_not_claimed(storage: Storage) -> None:
    await accept_one(storage)
    claim = await claim_one(storage)
    await storage.settle(
        [settlement(claim, EventState.RETRYING, due_at=Millis(NOW + 500), failure=failure())]
    )
    assert await storage.claim(10, Millis(NOW + 499), Millis(NOW + LEASE)) == []
    again = await claim_one(storage, NOW + 500)
    assert (again.attempt, again.token) == (2, 2)


async def test_claim_of_named_ids_takes_only_those(storage: Storage) -> None:
    wanted = await accept_one(storage, external_id="a")
    await accept_one(storage, external_id="b")
    claims = await storage.claim(10, NOW, Millis(NOW + LEASE), [wanted.id, EventId(uuid7(NOW))])
    assert [claim.external_id for claim in claims] == ["a"]
    assert await storage.claim(10, NOW, Millis(NOW + LEASE), [wanted.id]) == []


async def test_two_claimers_never_share_an_event(storage: Storage) -> None:
    await storage.accept([arrival(f"e{n}", str(n).encode()) for n in range(100)])
    batches = await asyncio.gather(*(storage.claim(7, NOW, Millis(NOW + LEASE)) for _ in range(20)))
    ids = [claim.id for batch in batches for claim in batch]
    assert len(ids) == len(set(ids)) == 100


async def test_extend_prolongs_and_names_what_was_lost(storage: Storage) -> None:
    await accept_one(storage)
    claim = await claim_one(storage)
    assert await storage.extend([claim], Millis(NOW + 2 * LEASE)) == []
    assert (await storage.rescue(Millis(NOW + LEASE + 1), poison_after=3)).events == 0
    assert (await storage.rescue(Millis(NOW + 2 * LEASE + 1), poison_after=3)).events == 1
    assert await storage.extend([claim], Millis(NOW + 9 * LEASE)) == [claim.id]


async def test_settle_writes_state_messages_and_failure_together(storage: Storage, reader: Reader) -> None:
    await accept_one(storage)
    claim = await claim_one(storage)
    written = message()
    assert await storage.settle([settlement(claim, messages=(written,))]) == [True]
    assert await state_of(reader, claim.id) is EventState.PROCESSED
    [row] = await reader.messages(RowFilter(event_id=claim.id))
    assert (row.id, row.state, row.destination, row.attempts) == (
        written.id,
        MessageState.PENDING,
        "ledger",
        0,
    )
    assert await reader.message_body(written.id) == written.body


async def test_a_failed_attempt_leaves_its_failure(storage: Storage, reader: Reader) -> None:
    await accept_one(storage)
    claim = await claim_one(storage)
    await storage.settle(
        [
            settlement(
                claim,
                EventState.RETRYING,
                due_at=Millis(NOW + 1),
                failure=failure(),
            )
        ]
    )
    event = await reader.event(claim.id)
    assert event is not None
    assert event.last_error == "ValueError: no such customer"
    [row] = await reader.failures(claim.id)
    assert row.attempt == 1
    assert row.failure == failure()


async def test_a_late_settlement_writes_nothing(storage: Storage, reader: Reader) -> None:
    await accept_one(storage)
    late = await claim_one(storage)
    await storage.rescue(Millis(NOW + LEASE + 1), poison_after=3)
    current = await claim_one(storage, NOW + LEASE + 2)
    assert current.token > late.token
    assert await storage.settle([settlement(late, messages=(message(),))]) == [False]
    assert await reader.messages(RowFilter()) == []
    assert await state_of(reader, late.id) is EventState.PROCESSING
    assert await storage.settle([settlement(current)]) == [True]


async def test_a_refused_settlement_does_not_refuse_the_others(storage: Storage) -> None:
    await storage.accept([arrival("a", b"a"), arrival("b", b"b")])
    one, two = await storage.claim(2, NOW, Millis(NOW + LEASE))
    await storage.settle([settlement(one)])
    assert await storage.settle([settlement(one), settlement(two)]) == [False, True]


async def test_a_given_back_attempt_is_not_counted_but_its_token_is_spent(storage: Storage) -> None:
    await accept_one(storage)
    claim = await claim_one(storage)
    await storage.settle([settlement(claim, EventState.RECEIVED, uncount=True)])
    again = await claim_one(storage)
    assert (again.attempt, again.token) == (1, 2)
    assert await storage.settle([settlement(claim)]) == [False]


# the unit of work


@pytest.fixture
async def table(database: Database) -> None:
    async def setup(unit: UnitOfWork) -> None:
        await unit.execute("CREATE TABLE payments (invoice TEXT PRIMARY KEY)")

    await database.run_setup([setup])


async def payments(storage: Storage) -> list[str]:
    """What is committed, read in a transaction of its own."""
    await accept_one(storage, external_id="probe", provider="probe")
    claim = next(
        each for each in await storage.claim(99, NOW, Millis(NOW + LEASE)) if each.provider == "probe"
    )
    unit = storage.begin(claim)
    rows = await unit.fetch("SELECT invoice FROM payments ORDER BY invoice")
    await unit.rollback()
    return [row["invoice"] for row in rows]


INSERT = "INSERT INTO payments (invoice) VALUES (:invoice)"


@pytest.mark.usefixtures("table")
async def test_effects_completion_and_messages_commit_together(storage: Storage, reader: Reader) -> None:
    await accept_one(storage)
    claim = await claim_one(storage)
    unit = storage.begin(claim)
    assert not unit.opened
    assert await unit.execute(INSERT, {"invoice": "in_1"}) == 1
    assert unit.opened
    assert await unit.fetch("SELECT invoice FROM payments") == [{"invoice": "in_1"}]
    await unit.complete(settlement(claim, messages=(message(),)))
    assert await state_of(reader, claim.id) is EventState.PROCESSED
    assert len(await reader.messages(RowFilter())) == 1
    assert await payments(storage) == ["in_1"]


@pytest.mark.usefixtures("table")
async def test_rollback_undoes_everything_and_may_be_repeated(storage: Storage, reader: Reader) -> None:
    await accept_one(storage)
    claim = await claim_one(storage)
    unit = storage.begin(claim)
    await unit.execute(INSERT, {"invoice": "in_1"})
    await unit.rollback()
    await unit.rollback()
    assert await state_of(reader, claim.id) is EventState.PROCESSING
    assert await payments(storage) == []


@pytest.mark.usefixtures("table")
async def test_completing_a_lost_event_rolls_everything_back(storage: Storage, reader: Reader) -> None:
    await accept_one(storage)
    claim = await claim_one(storage)
    await storage.rescue(Millis(NOW + LEASE + 1), poison_after=3)
    unit = storage.begin(claim)
    await unit.execute(INSERT, {"invoice": "in_1"})
    with pytest.raises(LeaseLost):
        await unit.complete(settlement(claim, messages=(message(),)))
    assert await payments(storage) == []
    assert await reader.messages(RowFilter()) == []


async def test_completing_without_a_statement_settles(storage: Storage, reader: Reader) -> None:
    await accept_one(storage)
    claim = await claim_one(storage)
    await storage.begin(claim).complete(settlement(claim, messages=(message(),)))
    assert await state_of(reader, claim.id) is EventState.PROCESSED
    with pytest.raises(LeaseLost):
        await storage.begin(claim).complete(settlement(claim))


@pytest.mark.usefixtures("table")
async def test_units_of_many_events_do_not_mix(storage: Storage, reader: Reader) -> None:
    await storage.accept([arrival(f"e{n}", str(n).encode()) for n in range(40)])
    claims = await storage.claim(40, NOW, Millis(NOW + LEASE))

    async def run(number: int, claim: Claim) -> None:
        unit = storage.begin(claim)
        await unit.execute(INSERT, {"invoice": f"in_{number:02}"})
        if number % 4 == 0:
            await unit.rollback()
        else:
            await unit.complete(settlement(claim, messages=(message(),)))

    await asyncio.gather(*(run(number, claim) for number, claim in enumerate(claims)))
    assert await payments(storage) == [f"in_{n:02}" for n in range(40) if n % 4]
    counts = await reader.counts()
    assert counts.events["PROCESSED"] == 30
    assert counts.messages == {"PENDING": 30}


@pytest.mark.usefixtures("table")
async def test_blocking_statements_from_a_thread(storage: Storage) -> None:
    await accept_one(storage)
    claim = await claim_one(storage)
    unit = storage.begin(claim)
    assert await asyncio.to_thread(unit.execute_blocking, INSERT, {"invoice": "in_1"}) == 1
    assert await asyncio.to_thread(unit.fetch_blocking, "SELECT invoice FROM payments") == [
        {"invoice": "in_1"}
    ]
    await unit.complete(settlement(claim))
    assert await payments(storage) == ["in_1"]


# messages


async def test_messages_are_claimed_by_destination(storage: Storage) -> None:
    await accept_one(storage)
    await storage.settle(
        [settlement(await claim_one(storage), messages=(message("ledger"), message("search")))]
    )
    [claim] = await storage.claim_messages("search", 10, NOW, Millis(NOW + LEASE))
    assert (claim.destination, claim.attempt, claim.token) == ("search", 1, 1)
    assert await storage.claim_messages("search", 10, NOW, Millis(NOW + LEASE)) == []


async def test_a_message_is_sent_once_its_settlement_says_so(storage: Storage, reader: Reader) -> None:
    id = await pending_message(storage)
    claim = await claim_message(storage)
    assert await storage.settle_messages([end(claim, MessageState.SENT), end(claim, MessageState.SENT)]) == [
        True,
        False,
    ]
    row = await reader.message(id)
    assert row is not None
    assert row.state is MessageState.SENT


async def test_a_failed_try_is_retried_when_due(storage: Storage, reader: Reader) -> None:
    id = await pending_message(storage)
    claim = await claim_message(storage)
    wanted = end(claim, MessageState.RETRYING, due_at=Millis(NOW + 50), failure=failure(status=503))
    await storage.settle_messages([wanted])
    assert await storage.claim_messages("ledger", 1, Millis(NOW + 49), Millis(NOW + LEASE)) == []
    assert (await claim_message(storage, NOW + 50)).attempt == 2
    [row] = await reader.failures(id)
    assert row.failure.status == 503


async def test_leases_of_messages_are_extended_and_rescued(storage: Storage) -> None:
    await pending_message(storage)
    claim = await claim_message(storage)
    assert await storage.extend_messages([claim], Millis(NOW + 2 * LEASE)) == []
    assert (await storage.rescue(Millis(NOW + LEASE + 1), poison_after=3)).messages == 0
    assert (await storage.rescue(Millis(NOW + 2 * LEASE + 1), poison_after=3)).messages == 1
    assert await storage.extend_messages([claim], Millis(NOW + 9 * LEASE)) == [claim.id]
    assert await storage.settle_messages([end(claim, MessageState.SENT)]) == [False]


# rescue


async def test_an_expired_lease_is_rescued_and_counted(storage: Storage, reader: Reader) -> None:
    accepted = await accept_one(storage)
    await claim_one(storage)
    assert (await storage.rescue(Millis(NOW + LEASE), poison_after=3)).events == 0
    assert (await storage.rescue(Millis(NOW + LEASE + 1), poison_after=3)).events == 1
    event = await reader.event(accepted.id)
    assert event is not None
    assert (event.state, event.attempts, event.lost_leases) == (EventState.RETRYING, 1, 1)


async def test_too_many_lost_leases_are_poison(storage: Storage, reader: Reader) -> None:
    accepted = await accept_one(storage)
    now = int(NOW)
    for lost in (1, 2, 3):
        await claim_one(storage, now)
        now += LEASE + 1
        rescued = await storage.rescue(Millis(now), poison_after=3)
        assert rescued.poisoned == (lost == 3)
    event = await reader.event(accepted.id)
    assert event is not None
    assert (event.state, event.reason) == (EventState.DEAD, Reason.POISON)


# operators


async def test_replay_starts_afresh_and_is_audited(storage: Storage, reader: Reader) -> None:
    id = await bring_event(storage, EventState.DEAD)
    [result] = await storage.replay_events([id], action())
    assert (result.done, result.was) == (True, "DEAD")
    event = await reader.event(id)
    assert event is not None
    assert (event.state, event.attempts, event.reason, event.replays) == (EventState.RECEIVED, 0, None, 1)
    [entry] = await reader.audit(10)
    assert (entry.actor, entry.action, entry.reason) == (
        "ada",
        "replay.event",
        "the bug of ticket 7 is fixed",
    )


async def test_replaying_what_is_retrying_makes_it_due_now(storage: Storage, reader: Reader) -> None:
    await accept_one(storage)
    claim = await claim_one(storage)
    later = Millis(NOW + 86_400_000)
    await storage.settle([settlement(claim, EventState.RETRYING, due_at=later, failure=failure())])
    [result] = await storage.replay_events([claim.id], action())
    assert (result.done, result.was) == (True, "RETRYING")
    assert (await claim_one(storage)).attempt == 2
    [entry] = await reader.audit(1)
    assert entry.action == "hurry.event"
    assert await reader.audit(10, entry.subject) == [entry]
    assert await reader.audit(10, "evt_another") == []


async def test_success_clears_the_last_error(storage: Storage, reader: Reader) -> None:
    id = await bring_event(storage, EventState.RETRYING)
    await storage.settle([settlement(await claim_one(storage))])
    event = await reader.event(id)
    assert event is not None
    assert (event.state, event.last_error) == (EventState.PROCESSED, None)


async def test_the_audit_log_is_a_chain(storage: Storage, reader: Reader) -> None:
    id = await bring_event(storage, EventState.DEAD)
    for _ in range(3):
        await storage.replay_events([id], action())
        await storage.settle([settlement(await claim_one(storage))])
    entries = list(reversed(await reader.audit(10)))
    assert [entry.seq for entry in entries] == [1, 2, 3]
    for before, entry in zip([None, *entries], entries, strict=False):
        assert entry.previous_hash == (before.hash if before else b"\0" * 32)
        assert entry.hash == audit_hash(entry)


async def test_an_unknown_id_is_reported(storage: Storage, reader: Reader) -> None:
    [result] = await storage.replay_events([EventId(uuid7(NOW))], action())
    assert (result.done, result.was) == (False, None)
    assert await reader.audit(10) == []


async def test_ignored_events_are_found_and_taken_back(storage: Storage, reader: Reader) -> None:
    id = await bring_event(storage, EventState.IGNORED)
    event = await reader.event(id)
    assert event is not None
    assert event.attempts == 0
    assert await reader.ignored_since(NOW, None, 10) == []
    [ignored] = await reader.ignored_since(Millis(NOW - 1), None, 10)
    assert ignored == IgnoredEvent(id, "stripe", "billing", "invoice.paid", NOW)
    assert await reader.ignored_since(Millis(NOW - 1), ignored, 10) == []
    assert await storage.take_back([id], NOW) == 1
    assert await storage.take_back([id], NOW) == 0
    assert await state_of(reader, id) is EventState.RECEIVED


# every move of the table, and no other


@pytest.mark.parametrize(
    ("state", "verb"), list(product(EventState, ["replay", "discard", "claim", "take back"]))
)
async def test_only_the_tables_moves_are_made_on_events(
    storage: Storage, reader: Reader, state: EventState, verb: str
) -> None:
    id = await bring_event(storage, state)
    if verb == "replay":
        moved, target, allowed = (
            (await storage.replay_events([id], action()))[0].done,
            EventState.RECEIVED,
            REPLAYABLE_EVENTS,
        )
    elif verb == "discard":
        moved, target, allowed = (
            (await storage.discard_events([id], action()))[0].done,
            EventState.DISCARDED,
            DISCARDABLE_EVENTS,
        )
    elif verb == "claim":
        moved, target = bool(await storage.claim(1, NOW, Millis(NOW + LEASE))), EventState.PROCESSING
        allowed = frozenset(each for each in EventState if EventState.PROCESSING in EVENT_MOVES[each])
    else:
        moved, target, allowed = (
            bool(await storage.take_back([id], NOW)),
            EventState.RECEIVED,
            frozenset({EventState.IGNORED}),
        )
    if verb == "replay" and state is EventState.RETRYING:  # hurried, not moved
        assert moved
        moved = False
    assert moved == (state in allowed)
    assert await state_of(reader, id) is (target if moved else state)
    if moved:
        assert target in EVENT_MOVES[state]


@pytest.mark.parametrize(("state", "verb"), list(product(MessageState, ["replay", "discard", "claim"])))
async def test_only_the_tables_moves_are_made_on_messages(
    storage: Storage, reader: Reader, state: MessageState, verb: str
) -> None:
    id = await bring_message(storage, state)
    if verb == "replay":
        moved, target, allowed = (
            (await storage.replay_messages([id], action()))[0].done,
            MessageState.PENDING,
            REPLAYABLE_MESSAGES,
        )
    elif verb == "discard":
        moved, target, allowed = (
            (await storage.discard_messages([id], action()))[0].done,
            MessageState.DISCARDED,
            DISCARDABLE_MESSAGES,
        )
    else:
        moved, target = (
            bool(await storage.claim_messages("ledger", 1, NOW, Millis(NOW + LEASE))),
            MessageState.SENDING,
        )
        allowed = frozenset(each for each in MessageState if MessageState.SENDING in MESSAGE_MOVES[each])
    row = await reader.message(id)
    assert row is not None
    if verb == "replay" and state is MessageState.RETRYING:  # hurried, not moved
        assert moved
        moved = False
    assert moved == (state in allowed)
    assert row.state is (target if moved else state)


@pytest.mark.parametrize("state", [each for each in EventState if each is not EventState.PROCESSING])
async def test_settling_moves_only_what_is_processing(
    storage: Storage, reader: Reader, state: EventState
) -> None:
    id = await bring_event(storage, state)
    spent = 1 if state is not EventState.RECEIVED else 0
    for wanted in EVENT_MOVES[EventState.PROCESSING]:
        due = Millis(NOW) if wanted is EventState.RETRYING else None
        stale = Claim(id, spent, 1, 0, "", "", "", "", None, 0, None, None, NOW, None, b"", "", "", None)  # type: ignore[arg-type] # only id and token matter
        assert await storage.settle([settlement(stale, wanted, due_at=due)]) == [False]
    assert await state_of(reader, id) is state


# rejections and reading


def rejection(number: int) -> Rejection:
    return Rejection(
        "stripe", "billing", Reason.BAD_SIGNATURE, f"n{number}", (), b"\0" * 32, 5, Millis(NOW + number)
    )


async def test_only_the_newest_rejections_are_kept(storage: Storage, reader: Reader) -> None:
    await storage.reject([rejection(number) for number in range(10)], keep=4)
    assert [each.rejection.detail for each in await reader.rejections(RowFilter())] == [
        "n9",
        "n8",
        "n7",
        "n6",
    ]
    await storage.reject([], keep=2)
    assert (await reader.counts()).rejections == {"BAD_SIGNATURE": 2}


async def test_pages_are_newest_first_and_filtered(storage: Storage, reader: Reader) -> None:
    arrivals: list[Arrival] = [
        arrival(
            f"e{n}", str(n).encode(), now=Millis(NOW + n), type="invoice.paid" if n % 2 else "charge.failed"
        )
        for n in range(10)
    ]
    await storage.accept(arrivals)
    first = await reader.events(RowFilter(limit=4))
    assert [each.external_id for each in first] == ["e9", "e8", "e7", "e6"]
    second = await reader.events(RowFilter(limit=4, before=first[-1].id))
    assert [each.external_id for each in second] == ["e5", "e4", "e3", "e2"]
    assert len(await reader.events(RowFilter(type="invoice.*"))) == 5
    assert len(await reader.events(RowFilter(type="charge.failed"))) == 5
    assert await reader.events(RowFilter(type="charge.fail")) == []
    assert [each.external_id for each in await reader.events(RowFilter(external_id="e3"))] == ["e3"]
    assert await reader.events(RowFilter(provider="github")) == []
    assert await reader.events(RowFilter(state="DEAD")) == []


async def test_the_clock_of_the_database_is_a_clock(reader: Reader, clock: ManualClock) -> None:
    assert await reader.database_time() > clock.now() - 10 * 365 * 86_400_000


def test_finished_states_have_no_way_out_but_an_operators() -> None:
    assert all(EVENT_MOVES[state] <= {EventState.RECEIVED, EventState.DISCARDED} for state in FINISHED_EVENTS)
    assert all(
        MESSAGE_MOVES[state] <= {MessageState.PENDING, MessageState.DISCARDED} for state in FINISHED_MESSAGES
    )
