"""The seam's verbs of people who mend, on every adapter: refused requests let in, stored ones read again."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace

from surehook.clock import Millis
from surehook.ids import EVENT_PREFIX, REJECTION_PREFIX, EventId, RejectionId, typeid, uuid7
from surehook.model import (
    Arrival,
    NewEvent,
    Readmission,
    Rejection,
    Reread,
    Rereading,
    RowFilter,
)
from surehook.states import EventState, Reason
from surehook.storage import Reader, Storage, arrivals
from tests.builders import NOW, action, arrival, settlement
from tests.contract.test_storage import LEASE, bring_event, claim_one, state_of


def refused(number: int = 0, **changes: Any) -> Rejection:
    values: dict[str, Any] = {
        "provider": "stripe",
        "topic": "billing",
        "reason": Reason.BAD_SIGNATURE,
        "detail": f"n{number}",
        "headers": (("x-signature", "é"), ("x-signature", "two")),
        "body_sha256": b"\1" * 32,
        "body_size": 5,
        "received_at": Millis(NOW + number),
        "remote": "192.0.2.7",
        "method": "GET",
        "query": "a=%20&b",
        "body": b"\xff\0{}\n",
    }
    return Rejection(**(values | changes))


async def reject(storage: Storage, reader: Reader, *rejections: Rejection) -> list[RejectionId]:
    """Their ids, in order."""
    await storage.reject(rejections, keep=1000)
    found = await reader.rejections(RowFilter())
    return [row.id for row in reversed(found)]


# what is kept


async def test_a_rejection_is_kept_as_it_came(storage: Storage, reader: Reader) -> None:
    [id] = await reject(storage, reader, refused())
    row = await reader.rejection(id)
    assert row is not None
    assert (row.id, row.kept, row.rejection) == (id, True, refused())
    [listed] = await reader.rejections(RowFilter())
    assert (listed.id, listed.kept, listed.rejection) == (id, True, replace(refused(), body=None))
    assert await reader.rejection(RejectionId(uuid7(NOW))) is None


async def test_an_empty_body_is_kept_too_and_none_is_not(storage: Storage, reader: Reader) -> None:
    ids = await reject(storage, reader, refused(1, body=b""), refused(2, body=None))
    rows = [await reader.rejection(id) for id in ids]
    assert [(row.kept, row.rejection.body) for row in rows if row] == [(True, b""), (False, None)]


async def test_rejections_are_filtered_and_come_in_pages(storage: Storage, reader: Reader) -> None:
    rejections = [refused(number, provider="github" if number % 2 else "stripe") for number in range(6)]
    await storage.reject([*rejections, refused(9, reason=Reason.ID_REUSED)], keep=100)

    async def details(wanted: RowFilter) -> list[str]:
        return [row.rejection.detail for row in await reader.rejections(wanted)]

    assert await details(RowFilter(provider="github")) == ["n5", "n3", "n1"]
    assert await details(RowFilter(reason="ID_REUSED")) == ["n9"]
    assert await details(RowFilter(since=Millis(NOW + 4))) == ["n9", "n5", "n4"]
    [last] = await reader.rejections(RowFilter(limit=1))
    assert await details(RowFilter(limit=2, before=last.id)) == ["n5", "n4"]


async def test_events_are_filtered_by_when_they_came(storage: Storage, reader: Reader) -> None:
    await storage.accept([arrival(f"e{n}", b"%d" % n, now=Millis(NOW + n)) for n in range(3)])
    found = await reader.events(RowFilter(since=Millis(NOW + 1)))
    assert [event.external_id for event in found] == ["e2", "e1"]


async def test_of_too_many_bytes_the_oldest_keep_their_hash_only(
    storage: Storage, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert arrivals.MOST_KEPT == 100_000_000
    monkeypatch.setattr(arrivals, "MOST_KEPT", 10_000)
    large, headers = bytes(3000), (("x", "y" * 900),)
    ids = await reject(
        storage, reader, *[refused(n, body=large, headers=headers, body_size=3000) for n in range(3)]
    )
    rows = [await reader.rejection(id) for id in ids]
    assert [row.kept for row in rows if row] == [False, True, True]
    oldest = rows[0]
    assert oldest is not None
    assert (oldest.rejection.headers, oldest.rejection.body_size) == ((), 3000)
    assert oldest.rejection.body_sha256 == b"\1" * 32


# readmit


async def test_a_readmitted_request_is_an_event_that_runs(storage: Storage, reader: Reader) -> None:
    [id] = await reject(storage, reader, refused())
    [[event]] = [each for each in await storage.readmit([Readmission(id, arrival())], action()) if each]
    assert not event.duplicate
    assert await reader.rejection(id) is None
    claim = await claim_one(storage, NOW + 5000)
    assert (claim.id, claim.received_at, claim.body) == (event.id, NOW, b'{"id": "evt_1"}')
    [entry] = await reader.audit(10)
    assert (entry.action, entry.subject) == ("accept.rejection", typeid(REJECTION_PREFIX, id))
    assert json.loads(entry.detail) == {
        "events": [{"event": typeid(EVENT_PREFIX, event.id), "duplicate": False}]
    }


async def test_what_the_sender_repeated_meanwhile_is_a_duplicate(storage: Storage, reader: Reader) -> None:
    [[first]] = await storage.accept([arrival()])
    [id] = await reject(storage, reader, refused())
    [[again]] = [each for each in await storage.readmit([Readmission(id, arrival())], action()) if each]
    assert (again.id, again.duplicate) == (first.id, True)
    assert (await reader.counts()).events == {"RECEIVED": 1}
    assert await reader.rejection(id) is None


async def test_a_rejection_becomes_events_once_even_without_an_id(storage: Storage, reader: Reader) -> None:
    """Where each delivery is an event of its own, nothing but the rejection itself tells that it was let in."""
    [id] = await reject(storage, reader, refused())
    asked = [
        storage.readmit([Readmission(id, arrival(f"delivery:{n}", b"same", weak=True))], action())
        for n in range(8)
    ]
    answers = [answer for [answer] in await asyncio.gather(*asked)]
    assert len([answer for answer in answers if answer is not None]) == 1
    assert (await reader.counts()).events == {"RECEIVED": 1}
    assert len(await reader.audit(10)) == 1


async def test_several_are_readmitted_and_answered_in_order(storage: Storage, reader: Reader) -> None:
    ids = await reject(storage, reader, *map(refused, range(3)))
    gone = RejectionId(uuid7(NOW))
    order = [ids[2], gone, ids[0], ids[2]]
    batch = [Readmission(id, arrival(id.hex(), id)) for id in order]
    last, missing, first, twice = await storage.readmit(batch, action())
    assert missing is None
    assert first is not None
    assert last is not None
    assert twice == last
    assert first != last
    assert [row.id for row in await reader.rejections(RowFilter())] == [ids[1]]
    assert [entry.subject for entry in await reader.audit(10)] == [
        typeid(REJECTION_PREFIX, id) for id in (ids[0], ids[2])
    ]


# reread


def batch_of(source: Arrival, *events: NewEvent) -> Arrival:
    """The same request with other events in it."""
    return replace(source, events=events)


def read(item: int = 0, external_id: str = "evt_1", **changes: Any) -> NewEvent:
    values: dict[str, Any] = {
        "id": EventId(uuid7(NOW)),
        "external_id": external_id,
        "type": "invoice.paid",
        "item": item,
    }
    return NewEvent(**(values | changes))


async def again(storage: Storage, id: EventId, stored: Arrival, *events: NewEvent) -> Reread:
    [result] = await storage.reread([Rereading(id, batch_of(stored, *events))], action(NOW + 9))
    return result


async def test_what_is_read_otherwise_is_written_down(storage: Storage, reader: Reader) -> None:
    stored = arrival()
    [[accepted]] = await storage.accept([stored])
    mended = read(type="invoice.settled", subject="in_7", occurred_at=Millis(7))
    assert await again(storage, accepted.id, stored, mended) == Reread(accepted.id, "RECEIVED", changed=True)
    event = await reader.event(accepted.id)
    assert event is not None
    assert (event.type, event.subject, event.occurred_at) == ("invoice.settled", "in_7", 7)
    assert (event.external_id, event.state, event.due_at) == ("evt_1", "RECEIVED", NOW)
    [entry] = await reader.audit(10)
    assert (entry.action, entry.subject) == ("reread.event", typeid(EVENT_PREFIX, accepted.id))
    assert await again(storage, accepted.id, stored, mended) == Reread(accepted.id, "RECEIVED")
    assert len(await reader.audit(10)) == 1, "what changes nothing leaves no entry"


@pytest.mark.parametrize("state", list(EventState))
async def test_only_what_runs_now_is_left_alone(storage: Storage, reader: Reader, state: EventState) -> None:
    id = await bring_event(storage, state)
    row = await reader.event(id)
    assert row is not None
    payload = await reader.payload(row.payload_id)
    assert payload is not None
    stored = Arrival(payload, ())
    result = await again(storage, id, stored, read(type="other"))
    changed = state is not EventState.PROCESSING
    assert (result.was, result.changed, result.revived) == (state, changed, False)
    assert (result.why is None) == changed
    after = await reader.event(id)
    assert after is not None
    assert (after.type, after.state) == ("other" if changed else "invoice.paid", state)


async def unreadable(
    storage: Storage, external_id: str = "hash", body: bytes = b"?"
) -> tuple[EventId, Arrival]:
    stored = arrival(external_id, body, weak=True, dead=Reason.UNPARSABLE)
    [[accepted]] = await storage.accept([stored])
    assert accepted.state is EventState.DEAD
    return accepted.id, stored


async def test_what_can_be_read_now_runs(storage: Storage, reader: Reader) -> None:
    id, stored = await unreadable(storage)
    result = await again(storage, id, stored, read(external_id="evt_9", type="invoice.settled"))
    assert (result.was, result.revived, result.changed) == ("DEAD", True, True)
    event = await reader.event(id)
    assert event is not None
    assert (event.reason, event.last_error, event.finished_at) == (None, None, None)
    assert event.external_id == "hash", "an external id stays what it is"
    claim = await claim_one(storage, NOW + 10)
    assert (claim.id, claim.type) == (id, "invoice.settled")


async def test_what_still_cannot_be_read_stays_dead(storage: Storage, reader: Reader) -> None:
    id, stored = await unreadable(storage)
    result = await again(storage, id, stored, read(dead=Reason.UNPARSABLE, error="the body cannot be read"))
    assert result == Reread(id, "DEAD", why="the body cannot be read")
    assert await state_of(reader, id) is EventState.DEAD
    assert await reader.audit(10) == []


async def test_what_the_sender_sent_again_meanwhile_is_not_run_twice(
    storage: Storage, reader: Reader
) -> None:
    id, stored = await unreadable(storage)
    [[known]] = await storage.accept([arrival("evt_9", b"!")])
    result = await again(storage, id, stored, read(external_id="evt_9"))
    assert result.why == f"it is {typeid(EVENT_PREFIX, known.id)}, which has its id"
    assert await state_of(reader, id) is EventState.DEAD


async def test_a_dead_event_of_another_reason_stays_dead(storage: Storage, reader: Reader) -> None:
    stored = arrival(dead=Reason.REPLAY_SUSPECT)
    [[accepted]] = await storage.accept([stored])
    result = await again(storage, accepted.id, stored, read(type="other"))
    assert (result.changed, result.revived) == (True, False)
    assert await state_of(reader, accepted.id) is EventState.DEAD


async def test_a_batch_that_was_one_event_becomes_several_once(storage: Storage, reader: Reader) -> None:
    id, stored = await unreadable(storage)
    await storage.accept([arrival("c", b"c")])  # came in another request already

    def items() -> list[NewEvent]:
        return [
            read(n, external_id, part=f"/{n}", sha256=bytes([n]) * 32) for n, external_id in enumerate("abc")
        ]

    result = await again(storage, id, stored, *items())
    assert (result.revived, len(result.added)) == (True, 1)
    claims = await storage.claim(9, Millis(NOW + 10), Millis(NOW + LEASE))
    parts = {claim.external_id: (claim.part, claim.body) for claim in claims}
    assert parts == {"hash": ("/0", b"?"), "b": ("/1", b"?"), "c": (None, b"c")}
    await storage.settle([settlement(claim) for claim in claims])
    for event in (id, *result.added):
        assert await again(storage, event, stored, *items()) == Reread(event, "PROCESSED")
    assert (await reader.counts()).events == {"PROCESSED": 3}


async def test_ids_that_are_read_otherwise_now_add_nothing(storage: Storage, reader: Reader) -> None:
    stored = batch_of(arrival(), read(0, "a"), read(1, "b"))
    [[first, _]] = await storage.accept([stored])
    result = await again(storage, first.id, stored, read(0, "x:a"), read(1, "x:b"), read(2, "x:c"))
    assert (result.added, result.why) == ((), None)
    assert (await reader.counts()).events == {"RECEIVED": 2}


async def test_an_event_that_is_no_longer_in_its_request_is_left_alone(storage: Storage) -> None:
    stored = batch_of(arrival(), read(0, "a"), read(1, "b"))
    [[_, second]] = await storage.accept([stored])
    result = await again(storage, second.id, stored, read(0, "a"))
    assert result.why == "its request no longer holds an event at its place"


async def test_what_an_older_reader_knew_by_its_digest_is_not_added(storage: Storage, reader: Reader) -> None:
    digests = [bytes([n]) * 32 for n in range(2)]
    stored = batch_of(arrival(), read(0, digests[0].hex(), weak=True, sha256=digests[0]))
    [[first]] = await storage.accept([stored])
    await storage.accept([arrival(digests[1].hex(), b"another request", weak=True)])
    result = await again(
        storage, first.id, stored, *[read(n, f"id-{n}", sha256=digests[n]) for n in range(2)]
    )
    assert result.added == ()
    assert (await reader.counts()).events == {"RECEIVED": 2}


async def test_an_unknown_event_is_reported(storage: Storage) -> None:
    unknown = EventId(uuid7(NOW))
    assert await again(storage, unknown, arrival(), read()) == Reread(unknown, None)
