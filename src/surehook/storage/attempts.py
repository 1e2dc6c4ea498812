"""The verbs of workers and publishers, from the claim to the end of an attempt: once for every database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from surehook.clock import Millis
from surehook.errors import LeaseLost
from surehook.ids import EVENT_PREFIX, EventId, MessageId, typeid, uuid7
from surehook.model import (
    Claim,
    Failure,
    MessageClaim,
    MessageSettlement,
    Rescued,
    Settlement,
)
from surehook.states import EventState, MessageState
from surehook.storage.named import Call, Statements, rows

_AnyClaim = TypeVar("_AnyClaim", Claim, MessageClaim)

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


async def claim_due(
    db: Statements, limit: int, now: Millis, lease_until: Millis, since: Millis
) -> tuple[list[Claim], Millis | None]:
    """Storage.claim by due order, of what is due since ``since``; and the earliest moment that one of them was due."""
    wanted = {**_lease(now, lease_until), "limit": limit, "since": since}
    taken = await rows(db, "claim_events", wanted)
    return _claims(row[:-1] for row in taken), _head(taken)


async def claim_named(
    db: Statements, ids: Sequence[EventId], now: Millis, lease_until: Millis
) -> list[Claim]:
    """Storage.claim of those among ``ids`` that are due."""
    return _claims(await rows(db, "claim_named_events", {**_lease(now, lease_until), "ids": list(ids)}))


def _head(taken: Sequence[tuple[Any, ...]]) -> Millis | None:
    """The earliest moment that one of them was due, where the database can tell."""
    return min((row[-1] for row in taken if row[-1] is not None), default=None)


def _lease(now: Millis, lease_until: Millis) -> dict[str, Any]:
    return {"now": now, "lease_until": lease_until, "inline_body": INLINE_BODY}


def _claims(taken: Iterable[tuple[Any, ...]]) -> list[Claim]:
    """RETURNING has no order of its own; ids sort by arrival."""
    return sorted((Claim(*row) for row in taken), key=lambda each: each.id)


async def extend(db: Statements, claims: Sequence[Claim], lease_until: Millis) -> list[EventId]:
    """Storage.extend."""
    return [each.id for each in await _extend(db, "event", claims, lease_until)]


async def _extend(
    db: Statements, kind: str, claims: Sequence[_AnyClaim], lease_until: Millis
) -> list[_AnyClaim]:
    """Those whose leases are lost. What is not prolonged only because somebody has locked its row still has its own."""
    ordered = sorted(claims, key=lambda each: each.id)
    extended = await db.run([(f"extend_{kind}", _prolonged(each, lease_until)) for each in ordered])
    left = [each for each, done in zip(ordered, extended, strict=True) if not done]
    held = await db.rows([(f"held_{kind}", _prolonged(each, lease_until)) for each in left])
    return [each for each, found in zip(left, held, strict=True) if not found]


def _prolonged(claim: Claim | MessageClaim, lease_until: Millis) -> dict[str, Any]:
    return {"id": claim.id, "token": claim.token, "lease_until": lease_until}


async def settle(db: Statements, settlements: Sequence[Settlement]) -> list[bool]:
    """Storage.settle; those that are PROCESSED, as most are, by one statement."""
    processed = [each for each in settlements if each.state is EventState.PROCESSED]
    held = await _process(db, processed)
    others = [each for each in settlements if each.state is not EventState.PROCESSED]
    held |= {
        key
        for key, done in zip(map(_key, others), await _end_all(db, _SETTLE_EVENT, others), strict=True)
        if done
    }
    kept = [each for each in settlements if _key(each) in held]
    await db.run([call for each in kept for call in _messages_of(each)])
    await db.run([call for each in kept for call in _failure_of("insert_event_failure", each)])
    return [_key(each) in held for each in settlements]


async def _process(db: Statements, settlements: Sequence[Settlement]) -> set[tuple[EventId, int]]:
    """Finish events in the order of their ids, as every verb locks them; those whose leases were still held."""
    if not settlements:
        return set()
    settled = sorted(map(_key, settlements))
    ids, tokens = [id for id, _ in settled], [token for _, token in settled]
    at = max(each.at for each in settlements)
    wanted = {"settled": settled, "ids": ids, "tokens": tokens, "at": at}
    return {(EventId(id), token) for id, token in await rows(db, "process_events", wanted)}


def _key(settlement: Settlement) -> tuple[EventId, int]:
    return settlement.id, settlement.token


async def complete(db: Statements, settlement: Settlement) -> None:
    """The end of a unit of work: the same writes, but a lost lease is an error, so that everything is rolled back.

    They are given to the database together: what is written in vain behind a lost lease is undone with the rest.
    """
    ends, more = completions([settlement])
    [ended, *_] = await db.run(ends + more)
    if not ended:
        raise LeaseLost(f"{typeid(EVENT_PREFIX, settlement.id)} is no longer held by this worker")


def completions(settlements: Sequence[Settlement]) -> tuple[list[Call], list[Call]]:
    """What several units of work end with in one transaction: each event, in the order of ids, and what is written with it.

    Each of the first must find its row, or its lease is lost.
    """
    ordered = sorted(settlements, key=lambda each: each.id)
    ends: list[Call] = [(_SETTLE_EVENT[each.state], _end_of(each)) for each in ordered]
    failures = [call for each in ordered for call in _failure_of("insert_event_failure", each)]
    return ends, [call for each in settlements for call in _messages_of(each)] + failures


async def _end_all(
    db: Statements,
    statements: Mapping[Any, str],
    settlements: Sequence[Settlement] | Sequence[MessageSettlement],
) -> list[bool]:
    """End attempts; in the order of ids, as every verb locks them, and answered in the order given."""
    ordered = sorted(range(len(settlements)), key=lambda index: settlements[index].id)
    ended = await db.run(
        [(statements[settlements[index].state], _end_of(settlements[index])) for index in ordered]
    )
    done = dict(zip(ordered, ended, strict=True))
    return [bool(done[index]) for index in range(len(settlements))]


def _messages_of(settlement: Settlement) -> Iterator[Call]:
    for message in settlement.messages:
        row = msgspec.structs.asdict(message)
        row["event_id"] = settlement.id
        row["at"] = settlement.at
        yield "insert_message", row


async def claim_messages(
    db: Statements, destination: str, limit: int, now: Millis, lease_until: Millis, since: Millis
) -> tuple[list[MessageClaim], Millis | None]:
    """Storage.claim_messages, of what is due since ``since``; and the earliest moment that one of them was due."""
    wanted = {
        "destination": destination,
        "limit": limit,
        "now": now,
        "lease_until": lease_until,
        "since": since,
    }
    taken = await rows(db, "claim_messages", wanted)
    claims = sorted((MessageClaim(*row[:-1]) for row in taken), key=lambda each: each.id)
    return claims, _head(taken)


async def extend_messages(
    db: Statements, claims: Sequence[MessageClaim], lease_until: Millis
) -> list[MessageId]:
    """Storage.extend_messages."""
    return [each.id for each in await _extend(db, "message", claims, lease_until)]


async def settle_messages(db: Statements, settlements: Sequence[MessageSettlement]) -> list[bool]:
    """Storage.settle_messages."""
    ended = await _end_all(db, _SETTLE_MESSAGE, settlements)
    held = [each for each, done in zip(settlements, ended, strict=True) if done]
    await db.run([call for each in held for call in _failure_of("insert_message_failure", each)])
    return ended


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


def _failure_of(statement: str, settlement: Settlement | MessageSettlement) -> Iterator[Call]:
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
    yield statement, row


async def rescue(db: Statements, now: Millis, poison_after: int, limit: int) -> Rescued:
    """Storage.rescue."""
    wanted = {"now": now, "poison_after": poison_after, "limit": limit}
    [events, messages] = await db.rows([("rescue_events", wanted), ("rescue_messages", wanted)])
    poisoned = sum(state == EventState.DEAD for _, state in events + messages)
    due = tuple(EventId(id) for id, state in events if state != EventState.DEAD)
    return Rescued(len(events), len(messages), poisoned, due)


async def take_back(db: Statements, ids: Sequence[EventId], now: Millis) -> int:
    """Storage.take_back."""
    return sum(await db.run([("take_back_event", {"id": id, "now": now}) for id in sorted(ids)]))
