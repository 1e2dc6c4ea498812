"""The verbs of people who mend: refused requests are let in, stored ones are read again. Once for every database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from surehook.clock import Millis
from surehook.ids import EVENT_PREFIX, REJECTION_PREFIX, EventId, typeid
from surehook.model import Accepted, Action, Arrival, NewEvent, Readmission, Reread, Rereading
from surehook.states import EventState, Reason
from surehook.storage.arrivals import accept, event_row
from surehook.storage.named import Statements, rows
from surehook.storage.operators import audit


async def readmit(
    db: Statements, batch: Sequence[Readmission], action: Action
) -> list[list[Accepted] | None]:
    """Storage.readmit."""
    # before any row, as every verb that audits
    await db.lock({"audit log"})
    ordered = sorted({each.id for each in batch})
    found = await db.rows([("lock_rejection", {"id": id}) for id in ordered])
    there = {id for id, rows in zip(ordered, found, strict=True) if rows}
    chosen = {each.id: each.arrival for each in batch if each.id in there}
    accepted = await accept(db, list(chosen.values()))
    await db.run([("delete_rejection", {"id": id}) for id in chosen])
    outcome = dict(zip(chosen, accepted, strict=True))
    acts = [
        ("accept.rejection", typeid(REJECTION_PREFIX, id), _became(events)) for id, events in outcome.items()
    ]
    await audit(db, action, acts)
    return [outcome.get(each.id) for each in batch]


def _became(events: Iterable[Accepted]) -> str:
    told = [{"event": typeid(EVENT_PREFIX, each.id), "duplicate": each.duplicate} for each in events]
    return msgspec.json.encode({"events": told}).decode()


class _Stored(msgspec.Struct, frozen=True):
    """An event of a request, as it is stored."""

    id: EventId
    external_id: str
    weak: int
    item: int
    state: str
    reason: str | None
    type: str
    subject: str | None
    occurred_at: Millis | None
    part: str | None


async def reread(db: Statements, batch: Sequence[Rereading], action: Action) -> list[Reread]:
    """Storage.reread."""
    await db.lock({"audit log"})
    results, acts = [], []
    for one in sorted(batch, key=lambda each: each.id):
        result = await _reread_one(db, one, action.at)
        results.append(result)
        if result.changed or result.revived or result.added:
            acts.append(("reread.event", typeid(EVENT_PREFIX, one.id), _told(result)))
    await audit(db, action, acts)
    by_id = {result.id: result for result in results}
    return [by_id[each.id] for each in batch]


def _told(result: Reread) -> str:
    added = [typeid(EVENT_PREFIX, id) for id in result.added]
    return msgspec.json.encode({"was": result.was, "revived": result.revived, "added": added}).decode()


async def _reread_one(db: Statements, one: Rereading, now: Millis) -> Reread:
    arrival = one.arrival
    siblings = await _siblings(db, arrival)
    stored = next((each for each in siblings if each.id == one.id), None)
    if stored is None:
        return Reread(one.id, None)
    readings = matched(siblings, arrival.events)
    reading = readings.get(one.id)
    why = _obstacle(stored, reading) or await _known_elsewhere(db, arrival, stored, reading)
    if why is not None or reading is None:
        return Reread(one.id, stored.state, why=why)
    changed, revived = await _renew(db, stored, reading, now)
    added = await _add(db, arrival, additional(siblings, readings, arrival.events))
    return Reread(one.id, stored.state, changed, revived, added)


async def _siblings(db: Statements, arrival: Arrival) -> list[_Stored]:
    payload = arrival.payload
    moment = payload.received_at.to_bytes(6, "big")
    wanted = {"first": moment + b"\0" * 10, "last": moment + b"\xff" * 10, "payload_id": payload.id}
    return [_Stored(*row) for row in await rows(db, "find_siblings", wanted)]


def matched(siblings: Sequence[_Stored], events: Sequence[NewEvent]) -> dict[EventId, NewEvent]:
    """Which event of a request is which of those that are read in it now: by external id, else by position."""
    by_id = {event.external_id: event for event in events}
    found = {each.id: by_id[each.external_id] for each in siblings if each.external_id in by_id}
    taken = {event.item for event in found.values()}
    by_item = {event.item: event for event in events if event.item not in taken}
    rest = {each.id: by_item[each.item] for each in siblings if each.id not in found and each.item in by_item}
    return found | rest


def additional(
    siblings: Sequence[_Stored], readings: Mapping[EventId, NewEvent], events: Sequence[NewEvent]
) -> list[NewEvent]:
    """What is read in a request besides what is stored of it.

    Nothing where ids of the sender are read otherwise now: what is stored under their old form would come a second time.
    """
    known = {event.external_id for event in events}
    if any(not each.weak and each.external_id not in known for each in siblings):
        return []
    taken = {event.item for event in readings.values()}
    return [event for event in events if event.item not in taken and event.dead is None]


def _obstacle(stored: _Stored, reading: NewEvent | None) -> str | None:
    """Why an event must be left alone."""
    if stored.state == EventState.PROCESSING:
        return "it is being processed: read it again when that has ended"
    if reading is None:
        return "its request no longer holds an event at its place"
    if reading.dead is not None:
        return reading.error or reading.dead.value
    return None


async def _known_elsewhere(
    db: Statements, arrival: Arrival, stored: _Stored, reading: NewEvent | None
) -> str | None:
    """Of an event that has no id of the sender's yet: whether what is read now is stored already, under that id."""
    if reading is None or reading.weak or reading.external_id == stored.external_id:
        return None
    key = {"provider": arrival.payload.provider, "external_id": reading.external_id}
    found = await rows(db, "find_known", key)
    return f"it is {typeid(EVENT_PREFIX, found[0][0])}, which has its id" if found else None


async def _renew(db: Statements, stored: _Stored, reading: NewEvent, now: Millis) -> tuple[bool, bool]:
    """Write what is read now; whether that is anything new, and whether the event came to life by it."""
    values: dict[str, Any] = {
        "type": reading.type,
        "subject": reading.subject,
        "occurred_at": reading.occurred_at,
        "part": reading.part,
    }
    changed = any(getattr(stored, name) != value for name, value in values.items())
    revived = stored.state == EventState.DEAD and stored.reason == Reason.UNPARSABLE
    if changed:
        await db.run([("reread_event", {**values, "id": stored.id, "now": now})])
    if revived:
        await db.run([("revive_event", {"id": stored.id, "now": now})])
    return changed, revived


async def _add(db: Statements, arrival: Arrival, events: Sequence[NewEvent]) -> tuple[EventId, ...]:
    """Store events unless they are known, under their id or, as an older reader had it, under their digest."""
    provider = arrival.payload.provider
    digests = [(event.sha256 or arrival.payload.sha256).hex() for event in events]
    found = await db.rows(
        [("find_known", {"provider": provider, "external_id": digest}) for digest in digests]
    )
    fresh = [event for event, known in zip(events, found, strict=True) if not known]
    ordered = sorted(fresh, key=lambda event: event.external_id)
    inserted = await db.run([("insert_event", event_row(arrival, event)) for event in ordered])
    return tuple([event.id for event, new in zip(ordered, inserted, strict=True) if new])
