"""The verbs that let requests in, or record that they were refused: once for every database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from surehook.errors import Unavailable
from surehook.ids import EVENT_PREFIX, EventId, typeid, uuid7
from surehook.model import Accepted, Arrival, NewEvent, Payload, Rejection
from surehook.states import EventState, Reason
from surehook.storage.named import Call, Statements

#: For how long the same body under another, unsigned, id is suspect.
SUSPECT_WINDOW = 24 * 3_600_000
#: Bytes of refused requests, bodies and headers, that are kept in all.
MOST_KEPT = 100_000_000


class _Item(msgspec.Struct, frozen=True):
    """One event of one arrival of a batch."""

    arrival: Arrival
    event: NewEvent
    #: Where its answer belongs.
    place: tuple[int, int]

    @property
    def key(self) -> tuple[str, str]:
        return (self.arrival.payload.provider, self.event.external_id)

    @property
    def digest(self) -> bytes:
        """Of its own bytes, which of a request with several events are only a part."""
        return self.event.sha256 or self.arrival.payload.sha256


_by_key: Callable[[_Item], tuple[str, str]] = attrgetter("arrival.payload.provider", "event.external_id")


async def accept(db: Statements, arrivals: Sequence[Arrival]) -> list[list[Accepted]]:
    """Storage.accept."""
    answers: dict[tuple[int, int], Accepted] = {}
    for wave in _waves(arrivals):
        answers |= await _accept_wave(db, wave)
    return [
        [answers[index, item] for item in range(len(arrival.events))]
        for index, arrival in enumerate(arrivals)
    ]


def _waves(arrivals: Sequence[Arrival]) -> Iterator[list[_Item]]:
    """The batch, cut where an arrival must see what one before it has stored: the same body under an unsigned id.

    Each part is in the order of the dedupe keys, as every process inserts them: two that get the same duplicates would
    otherwise wait for each other.
    """
    wave: list[_Item] = []
    seen: set[bytes] = set()
    for index, arrival in enumerate(arrivals):
        items = [_Item(arrival, event, (index, item)) for item, event in enumerate(arrival.events)]
        if not arrival.id_is_signed:
            digests = {item.digest for item in items}
            if not digests.isdisjoint(seen):
                yield sorted(wave, key=_by_key)
                wave, seen = [], set()
            seen |= digests
        wave += items
    yield sorted(wave, key=_by_key)


async def _accept_wave(db: Statements, wave: Sequence[_Item]) -> dict[tuple[int, int], Accepted]:
    suspects = await _find_suspects(db, wave)
    states = [_first_state(item, suspects.get(item.place)) for item in wave]
    inserted = await db.run(
        [
            ("insert_event", event_row(item.arrival, item.event, *state))
            for item, state in zip(wave, states, strict=True)
        ]
    )
    fresh = {
        item.place: Accepted(item.event.id, False, EventState.RECEIVED if reason is None else EventState.DEAD)
        for item, (reason, _), new in zip(wave, states, inserted, strict=True)
        if new
    }
    payloads = {item.place[0]: item.arrival.payload for item in wave if item.place in fresh}
    await db.run([("insert_payload", _payload_row(payload)) for payload in payloads.values()])
    return fresh | await _count_duplicates(db, [item for item in wave if item.place not in fresh])


async def _find_suspects(db: Statements, wave: Sequence[_Item]) -> dict[tuple[int, int], str]:
    """Which of them came lately under another id, and under which."""
    # a missing id is no protection either: who captured a request can leave the unsigned id out
    items = [item for item in wave if not item.arrival.id_is_signed and item.event.dead is None]
    if not items:
        return {}
    # of the same body at two processes at the same moment, the second one must see the first
    await db.lock({f"body {item.digest.hex()}" for item in items})
    found = await db.rows([("find_suspect", _suspect_of(item)) for item in items])
    return {item.place: known[0][0] for item, known in zip(items, found, strict=True) if known}


def _suspect_of(item: _Item) -> dict[str, Any]:
    payload = item.arrival.payload
    return {
        "suspect_key": item.digest,
        "since": payload.received_at - SUSPECT_WINDOW,
        "provider": payload.provider,
        "external_id": item.event.external_id,
    }


def _first_state(item: _Item, known: str | None) -> tuple[Reason | None, str | None]:
    """Why it is DEAD on arrival, and what an operator reads; None: it is RECEIVED."""
    if known is None:
        return item.event.dead, item.event.error
    error = f"the same body came within 24 h under the id {known!r}, and the signature does not cover the id"
    return Reason.REPLAY_SUSPECT, error


def event_row(
    arrival: Arrival, event: NewEvent, reason: Reason | None = None, error: str | None = None
) -> dict[str, Any]:
    """The parameters of ``insert_event``; with a reason it is stored DEAD."""
    payload = arrival.payload
    digest = event.sha256 or payload.sha256
    return {
        "id": event.id,
        "provider": payload.provider,
        "topic": payload.topic,
        "external_id": event.external_id,
        "weak": int(event.weak),
        "type": event.type,
        "subject": event.subject,
        "payload_id": payload.id,
        "item": event.item,
        "part": event.part,
        "body_sha256": digest,
        "suspect_key": None if arrival.id_is_signed else digest,
        "occurred_at": event.occurred_at,
        "received_at": payload.received_at,
        "traceparent": arrival.traceparent,
        "state": EventState.RECEIVED if reason is None else EventState.DEAD,
        "reason": reason,
        "due_at": payload.received_at if reason is None else None,
        "finished_at": None if reason is None else payload.received_at,
        "last_error": error,
    }


def _payload_row(payload: Payload) -> dict[str, Any]:
    row = msgspec.structs.asdict(payload)
    row["headers"] = msgspec.json.encode(payload.headers).decode()
    return row


async def _count_duplicates(db: Statements, items: Sequence[_Item]) -> dict[tuple[int, int], Accepted]:
    if not items:
        return {}
    found = await db.rows(
        [("find_known", {"provider": item.key[0], "external_id": item.key[1]}) for item in items]
    )
    if not all(found):
        raise Unavailable("an event was removed at the moment its duplicate came: send again")
    # in the order in which every verb locks events, so that no two of them wait for each other
    known = sorted(zip(items, found, strict=True), key=lambda each: each[1][0][0])
    await db.run([("count_duplicate", {"id": stored[0]}) for _, [stored] in known])
    reused = [_id_reused(item, stored[0]) for item, [stored] in known if stored[2] != item.digest]
    await db.run(reused)
    return {item.place: Accepted(EventId(id), True, EventState(state)) for item, [(id, state, _)] in known}


def _id_reused(item: _Item, known: bytes) -> Call:
    payload = item.arrival.payload
    return _rejection_row(
        Rejection(
            provider=payload.provider,
            topic=payload.topic,
            reason=Reason.ID_REUSED,
            detail=f"{typeid(EVENT_PREFIX, known)} has this external id and another body; the first one stays",
            headers=payload.headers,
            body_sha256=payload.sha256,
            body_size=len(payload.body),
            received_at=payload.received_at,
            external_id=item.event.external_id,
        )
    )


async def reject(db: Statements, rejections: Sequence[Rejection], keep: int) -> None:
    """Storage.reject."""
    calls: list[Call] = [*map(_rejection_row, rejections), ("trim_rejections", {"keep": keep})]
    if any(each.body is not None for each in rejections):
        calls.append(("trim_rejected_bodies", {"most": MOST_KEPT}))
    await db.run(calls)


def _rejection_row(rejection: Rejection) -> Call:
    row = msgspec.structs.asdict(rejection)
    row["id"] = uuid7(rejection.received_at)
    row["headers"] = msgspec.json.encode(rejection.headers).decode()
    return "insert_rejection", row
