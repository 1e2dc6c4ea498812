"""Every write verb once, over named statements, for every database.

The functions are coroutines so that an adapter whose driver waits (PostgreSQL) can await its statements. On SQLite no
statement ever suspends, and ``drive`` runs such a coroutine to its end in one step, on the thread that owns the connection.
"""

from __future__ import annotations

import hashlib
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from surehook.clock import Millis
from surehook.errors import LeaseLost
from surehook.ids import EVENT_PREFIX, MESSAGE_PREFIX, EventId, MessageId, typeid, uuid7
from surehook.model import (
    Accepted,
    Action,
    ActionResult,
    Arrival,
    AuditEntry,
    Claim,
    Failure,
    MessageClaim,
    MessageSettlement,
    NewEvent,
    Rejection,
    Rescued,
    Settlement,
)
from surehook.states import (
    DISCARDABLE_EVENTS,
    DISCARDABLE_MESSAGES,
    REPLAYABLE_EVENTS,
    REPLAYABLE_MESSAGES,
    EventState,
    MessageState,
    Reason,
)

Result = TypeVar("Result")

#: For how long the same body under another, unsigned, id is suspect.
SUSPECT_WINDOW = 24 * 3_600_000

#: Bodies up to this size come with the claim; larger ones are read when needed, so that a claim of many stays small.
INLINE_BODY = 64 * 1024

#: What an error may leave on a row or in a failure.
_ERROR_LENGTH = 500
_DETAIL_LENGTH = 16 * 1024

_SETTLE_EVENT = {
    EventState.PROCESSED: "process_event",
    EventState.RETRYING: "retry_event",
    EventState.DEAD: "bury_event",
    EventState.IGNORED: "ignore_event",
    EventState.RECEIVED: "release_event",
}
_SETTLE_MESSAGE = {
    MessageState.SENT: "send_message",
    MessageState.RETRYING: "retry_message",
    MessageState.DEAD: "bury_message",
    MessageState.PENDING: "release_message",
}


class Statements(Protocol):
    """Runs named statements in one open transaction."""

    async def run(self, name: str, parameters: Mapping[str, Any]) -> int:
        """Run a statement; how many rows it wrote."""
        ...

    async def rows(self, name: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run a statement; its rows."""
        ...


def drive(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    coroutine.close()
    raise RuntimeError("a statement suspended where none may")


async def accept(db: Statements, arrivals: Sequence[Arrival]) -> list[list[Accepted]]:
    """Storage.accept."""
    return [await _accept_arrival(db, arrival) for arrival in arrivals]


async def _accept_arrival(db: Statements, arrival: Arrival) -> list[Accepted]:
    accepted = [await _accept_event(db, arrival, event) for event in arrival.events]
    if any(not each.duplicate for each in accepted):
        payload = arrival.payload
        await db.run(
            "insert_payload",
            {
                "id": payload.id,
                "provider": payload.provider,
                "topic": payload.topic,
                "body": payload.body,
                "headers": msgspec.json.encode(payload.headers).decode(),
                "content_type": payload.content_type,
                "sha256": payload.sha256,
                "received_at": payload.received_at,
                "secret": payload.secret,
            },
        )
    return accepted


async def _accept_event(db: Statements, arrival: Arrival, event: NewEvent) -> Accepted:
    payload = arrival.payload
    reason, error = event.dead, event.error
    # a missing id is no protection either: who captured a request can leave the unsigned id out
    suspect_key = None if arrival.id_is_signed else payload.sha256
    if suspect_key is not None and reason is None:
        known = await _find_suspect(db, arrival, event)
        if known is not None:
            reason = Reason.REPLAY_SUSPECT
            error = f"the same body came within 24 h under the id {known!r}, and the signature does not cover the id"
    state = EventState.RECEIVED if reason is None else EventState.DEAD
    inserted = await db.run(
        "insert_event",
        {
            "id": event.id,
            "provider": payload.provider,
            "topic": payload.topic,
            "external_id": event.external_id,
            "weak": int(event.weak),
            "type": event.type,
            "subject": event.subject,
            "payload_id": payload.id,
            "item": event.item,
            "body_sha256": payload.sha256,
            "suspect_key": suspect_key,
            "occurred_at": event.occurred_at,
            "received_at": payload.received_at,
            "traceparent": arrival.traceparent,
            "state": state,
            "reason": reason,
            "due_at": payload.received_at if reason is None else None,
            "finished_at": None if reason is None else payload.received_at,
            "last_error": error,
        },
    )
    if inserted:
        return Accepted(event.id, False, state)
    return await _accept_duplicate(db, arrival, event)


async def _find_suspect(db: Statements, arrival: Arrival, event: NewEvent) -> str | None:
    payload = arrival.payload
    wanted = {
        "suspect_key": payload.sha256,
        "since": payload.received_at - SUSPECT_WINDOW,
        "provider": payload.provider,
        "external_id": event.external_id,
    }
    rows = await db.rows("find_suspect", wanted)
    return rows[0][0] if rows else None


async def _accept_duplicate(db: Statements, arrival: Arrival, event: NewEvent) -> Accepted:
    payload = arrival.payload
    key = {"provider": payload.provider, "external_id": event.external_id}
    [(known, state, sha256)] = await db.rows("count_duplicate", key)
    if sha256 != payload.sha256:
        rejection = Rejection(
            provider=payload.provider,
            topic=payload.topic,
            reason=Reason.ID_REUSED,
            detail=f"{typeid(EVENT_PREFIX, known)} has this external id and another body; the first one stays",
            headers=payload.headers,
            body_sha256=payload.sha256,
            body_size=len(payload.body),
            received_at=payload.received_at,
            external_id=event.external_id,
        )
        await _insert_rejection(db, rejection)
    return Accepted(EventId(known), True, EventState(state))


async def reject(db: Statements, rejections: Sequence[Rejection], keep: int) -> None:
    """Storage.reject."""
    for rejection in rejections:
        await _insert_rejection(db, rejection)
    await db.run("trim_rejections", {"keep": keep})


async def _insert_rejection(db: Statements, rejection: Rejection) -> None:
    row = msgspec.structs.asdict(rejection)
    row["id"] = uuid7(rejection.received_at)
    row["headers"] = msgspec.json.encode(rejection.headers).decode()
    await db.run("insert_rejection", row)


async def claim(
    db: Statements, limit: int, now: Millis, lease_until: Millis, only: Sequence[EventId] | None
) -> list[Claim]:
    """Storage.claim."""
    lease = {"now": now, "lease_until": lease_until, "inline_body": INLINE_BODY}
    if only is None:
        rows = await db.rows("claim_events", {**lease, "limit": limit})
    else:
        rows = [row for id in only[:limit] for row in await db.rows("claim_event", {**lease, "id": id})]
    # RETURNING has no order of its own; ids sort by arrival.
    return sorted((Claim(*row) for row in rows), key=lambda each: each.id)


async def extend(db: Statements, claims: Sequence[Claim], lease_until: Millis) -> list[EventId]:
    """Storage.extend."""
    return [
        each.id
        for each in claims
        if not await db.run("extend_event", {"id": each.id, "token": each.token, "lease_until": lease_until})
    ]


async def settle(db: Statements, settlements: Sequence[Settlement]) -> list[bool]:
    """Storage.settle."""
    return [await _settle_event(db, each) for each in settlements]


async def complete(db: Statements, settlement: Settlement) -> None:
    """The end of a unit of work: the same writes, but a lost lease is an error, so that everything is rolled back."""
    if not await _settle_event(db, settlement):
        raise LeaseLost(f"{typeid(EVENT_PREFIX, settlement.id)} is no longer held by this worker")


async def _settle_event(db: Statements, settlement: Settlement) -> bool:
    if not await db.run(_SETTLE_EVENT[settlement.state], _end_of(settlement)):
        return False
    for message in settlement.messages:
        row = msgspec.structs.asdict(message)
        await db.run("insert_message", {**row, "event_id": settlement.id, "at": settlement.at})
    await _insert_failure(db, "insert_event_failure", settlement)
    return True


async def claim_messages(
    db: Statements, destination: str, limit: int, now: Millis, lease_until: Millis
) -> list[MessageClaim]:
    """Storage.claim_messages."""
    wanted = {"destination": destination, "limit": limit, "now": now, "lease_until": lease_until}
    rows = await db.rows("claim_messages", wanted)
    return sorted((MessageClaim(*row) for row in rows), key=lambda each: each.id)


async def extend_messages(
    db: Statements, claims: Sequence[MessageClaim], lease_until: Millis
) -> list[MessageId]:
    """Storage.extend_messages."""
    return [
        each.id
        for each in claims
        if not await db.run(
            "extend_message", {"id": each.id, "token": each.token, "lease_until": lease_until}
        )
    ]


async def settle_messages(db: Statements, settlements: Sequence[MessageSettlement]) -> list[bool]:
    """Storage.settle_messages."""
    return [await _settle_message(db, each) for each in settlements]


async def _settle_message(db: Statements, settlement: MessageSettlement) -> bool:
    if not await db.run(_SETTLE_MESSAGE[settlement.state], _end_of(settlement)):
        return False
    await _insert_failure(db, "insert_message_failure", settlement)
    return True


def _end_of(settlement: Settlement | MessageSettlement) -> dict[str, Any]:
    failure = settlement.failure
    return {
        "id": settlement.id,
        "token": settlement.token,
        "at": settlement.at,
        "due_at": settlement.due_at,
        "reason": settlement.reason,
        "uncount": int(settlement.uncount),
        "last_error": _summary(failure) if failure else None,
    }


def _summary(failure: Failure) -> str:
    """What an operator reads in a list; the message of an HTTP failure begins with its type already."""
    message = failure.message
    text = message if message.startswith(failure.error_type) else f"{failure.error_type}: {message}"
    return text[:_ERROR_LENGTH]


async def _insert_failure(db: Statements, statement: str, settlement: Settlement | MessageSettlement) -> None:
    failure = settlement.failure
    if failure is None:
        return
    row = msgspec.structs.asdict(failure)
    row |= {
        "id": uuid7(failure.failed_at),
        "row_id": settlement.id,
        "message": failure.message[:_DETAIL_LENGTH],
        # the end of a traceback says most
        "detail": failure.detail[-_DETAIL_LENGTH:],
    }
    await db.run(statement, row)


async def rescue(db: Statements, now: Millis, poison_after: int, limit: int) -> Rescued:
    """Storage.rescue."""
    wanted = {"now": now, "poison_after": poison_after, "limit": limit}
    events = await db.rows("rescue_events", wanted)
    messages = await db.rows("rescue_messages", wanted)
    poisoned = sum(state == EventState.DEAD for _, state in events + messages)
    due = tuple(EventId(id) for id, state in events if state != EventState.DEAD)
    return Rescued(len(events), len(messages), poisoned, due)


async def take_back(db: Statements, ids: Sequence[EventId], now: Millis) -> int:
    """Storage.take_back."""
    return sum([await db.run("take_back_event", {"id": id, "now": now}) for id in ids])


class _Hand(msgspec.Struct, frozen=True):
    """What an operator can do to one kind of row."""

    prefix: str
    look: str
    movable: frozenset[EventState] | frozenset[MessageState]
    move: str
    #: Statement for a row that already waits for another attempt, if the verb means anything there.
    hurry: str | None = None


_REPLAY_EVENT = _Hand(EVENT_PREFIX, "lock_event", REPLAYABLE_EVENTS, "replay_event", "hurry_event")
_DISCARD_EVENT = _Hand(EVENT_PREFIX, "lock_event", DISCARDABLE_EVENTS, "discard_event")
_REPLAY_MESSAGE = _Hand(
    MESSAGE_PREFIX, "lock_message", REPLAYABLE_MESSAGES, "replay_message", "hurry_message"
)
_DISCARD_MESSAGE = _Hand(MESSAGE_PREFIX, "lock_message", DISCARDABLE_MESSAGES, "discard_message")


async def replay_events(db: Statements, ids: Sequence[EventId], action: Action) -> list[ActionResult]:
    """Storage.replay_events."""
    return [await _act(db, _REPLAY_EVENT, id, action) for id in ids]


async def discard_events(db: Statements, ids: Sequence[EventId], action: Action) -> list[ActionResult]:
    """Storage.discard_events."""
    return [await _act(db, _DISCARD_EVENT, id, action) for id in ids]


async def replay_messages(db: Statements, ids: Sequence[MessageId], action: Action) -> list[ActionResult]:
    """Storage.replay_messages."""
    return [await _act(db, _REPLAY_MESSAGE, id, action) for id in ids]


async def discard_messages(db: Statements, ids: Sequence[MessageId], action: Action) -> list[ActionResult]:
    """Storage.discard_messages."""
    return [await _act(db, _DISCARD_MESSAGE, id, action) for id in ids]


async def _act(db: Statements, hand: _Hand, id: bytes, action: Action) -> ActionResult:
    """Move (or hurry) one row by hand and audit it, or leave it and say in which state it is."""
    rows = await db.rows(hand.look, {"id": id})
    if not rows:
        return ActionResult(id, False, None)
    was = rows[0][0]
    statement = hand.move if was in hand.movable else hand.hurry if was == EventState.RETRYING else None
    done = statement is not None and bool(await db.run(statement, {"id": id, "was": was, "now": action.at}))
    if statement is not None and done:
        await _audit(db, action, statement.replace("_", "."), typeid(hand.prefix, id), f'{{"was":"{was}"}}')
    return ActionResult(id, done, was)


async def _audit(db: Statements, action: Action, name: str, subject: str, detail: str) -> None:
    last = await db.rows("last_audit_entry", {})
    seq, previous = (last[0][0], last[0][1]) if last else (0, b"\0" * 32)
    entry = AuditEntry(seq + 1, action.at, action.actor, name, action.reason, subject, detail, previous, b"")
    row = msgspec.structs.asdict(entry)
    row["hash"] = audit_hash(entry)
    await db.run("insert_audit_entry", row)


def audit_hash(entry: AuditEntry) -> bytes:
    """SHA-256 over the entry and the hash before it, so that no entry can be changed, removed or moved unseen."""
    covered = [entry.seq, entry.at, entry.actor, entry.action, entry.reason, entry.subject, entry.detail]
    return hashlib.sha256(entry.previous_hash + msgspec.json.encode(covered)).digest()
