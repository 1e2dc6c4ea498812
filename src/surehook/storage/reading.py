"""Every reading verb once, over named statements, for every database."""

from __future__ import annotations

from typing import Any

import msgspec

from surehook.clock import Millis
from surehook.ids import EventId, MessageId, PayloadId, RejectionId
from surehook.model import (
    COUNTED,
    AuditEntry,
    Counts,
    EventRow,
    Failure,
    FailureRow,
    Headers,
    IgnoredEvent,
    MessageRow,
    Payload,
    Rejection,
    RejectionRow,
    RowFilter,
)
from surehook.states import EventState, MessageState, Reason
from surehook.storage.named import Statements, rows

_headers = msgspec.json.Decoder(Headers)


async def event(db: Statements, id: EventId) -> EventRow | None:
    """Reader.event."""
    found = await rows(db, "get_event", {"id": id})
    return _event_row(found[0]) if found else None


async def events(db: Statements, wanted: RowFilter) -> list[EventRow]:
    """Reader.events."""
    parameters = {
        **_common(wanted),
        "provider": wanted.provider,
        "external_id": wanted.external_id,
        "since": wanted.since,
    }
    return [_event_row(row) for row in await rows(db, "find_events", parameters)]


async def payload(db: Statements, id: PayloadId) -> Payload | None:
    """Reader.payload."""
    found = await rows(db, "get_payload", {"id": id})
    if not found:
        return None
    key, provider, topic, body, headers, content_type, sha256, received_at, secret = found[0]
    return Payload(
        key, provider, topic, body, _headers.decode(headers), content_type, sha256, received_at, secret
    )


async def message(db: Statements, id: MessageId) -> MessageRow | None:
    """Reader.message."""
    found = await rows(db, "get_message", {"id": id})
    return _message_row(found[0]) if found else None


async def message_body(db: Statements, id: MessageId) -> bytes | None:
    """Reader.message_body."""
    found = await rows(db, "get_message_body", {"id": id})
    return found[0][0] if found else None


async def messages(db: Statements, wanted: RowFilter) -> list[MessageRow]:
    """Reader.messages."""
    parameters = {**_common(wanted), "destination": wanted.destination, "event_id": wanted.event_id}
    return [_message_row(row) for row in await rows(db, "find_messages", parameters)]


async def failures(db: Statements, id: EventId | MessageId) -> list[FailureRow]:
    """Reader.failures."""
    found = await rows(db, "find_failures", {"row_id": id})
    return [FailureRow(attempt, Failure(*rest)) for attempt, *rest in found]


async def rejections(db: Statements, wanted: RowFilter) -> list[RejectionRow]:
    """Reader.rejections."""
    parameters = {
        "before": wanted.before,
        "provider": wanted.provider,
        "reason": wanted.reason,
        "since": wanted.since,
        "limit": wanted.limit,
    }
    return [_rejection(row) for row in await rows(db, "find_rejections", parameters)]


async def rejection(db: Statements, id: RejectionId) -> RejectionRow | None:
    """Reader.rejection."""
    found = await rows(db, "get_rejection", {"id": id})
    return _rejection(found[0]) if found else None


async def audit(db: Statements, limit: int, subject: str | None) -> list[AuditEntry]:
    """Reader.audit."""
    statement = "find_audit" if subject is None else "find_audit_of"
    return [AuditEntry(*row) for row in await rows(db, statement, {"limit": limit, "subject": subject})]


async def counts(db: Statements) -> Counts:
    """Reader.counts."""
    events = await _tally(db, "event", EventState.RECEIVED, EventState.PROCESSED)
    messages = await _tally(db, "message", MessageState.PENDING, MessageState.SENT)
    rejections = await rows(db, "count_rejections", {})
    return Counts(
        events=events.states,
        messages=messages.states,
        duplicates=events.duplicates,
        rejections=dict(rejections),
        at_least=events.at_least | messages.at_least,
        about=events.about | messages.about,
    )


class _Tally(msgspec.Struct, frozen=True):
    """The counts of one table."""

    states: dict[str, int]
    duplicates: int | None = None
    at_least: frozenset[str] = frozenset()
    about: frozenset[str] = frozenset()


async def _tally(db: Statements, kind: str, waiting: str, done: str) -> _Tally:
    """One by one while they are few; else what has an index, up to a bound, and the rest by the database's statistics."""
    bound = {"bound": COUNTED + 1}
    some = await rows(db, f"count_{kind}s", bound)
    if sum(row[1] for row in some) <= COUNTED:
        duplicates = sum(row[2] for row in some) if kind == "event" else None
        return _Tally({row[0]: row[1] for row in some}, duplicates)
    named = dict(await rows(db, f"count_named_{kind}s", bound))
    total, due = named.pop("ALL") or 0, named.pop("WAITING")
    fresh = due if due > COUNTED else max(0, due - named["RETRYING"])
    states = {waiting: fresh, **named}
    at_least = frozenset(state for state, count in states.items() if count > COUNTED)
    capped = {state: min(count, COUNTED) for state, count in states.items() if count}
    rest = {done: max(0, total - sum(capped.values()))}
    return _Tally(capped | rest, None, at_least, frozenset(rest))


async def ignored_since(
    db: Statements, since: Millis, after: IgnoredEvent | None, limit: int
) -> list[IgnoredEvent]:
    """Reader.ignored_since."""
    wanted = {
        "since": after.finished_at if after else since,
        "after": after.id if after else b"\xff" * 16,
        "limit": limit,
    }
    return [IgnoredEvent(*row) for row in await rows(db, "find_ignored", wanted)]


async def due(db: Statements, before: Millis, limit: int) -> list[EventId]:
    """Reader.due."""
    return [id for (id,) in await rows(db, "find_due", {"before": before, "limit": limit})]


async def database_time(db: Statements) -> Millis:
    """Reader.database_time."""
    [(now,)] = await rows(db, "database_time", {})
    return Millis(now)


def _common(wanted: RowFilter) -> dict[str, Any]:
    prefix = wanted.type[:-1] if wanted.type is not None and wanted.type.endswith("*") else None
    return {
        "before": wanted.before,
        "state": wanted.state,
        "type": wanted.type if prefix is None else None,
        "type_prefix": prefix,
        "limit": wanted.limit,
    }


def _event_row(row: tuple[Any, ...]) -> EventRow:
    found = EventRow(*row)
    return msgspec.structs.replace(
        found,
        weak=bool(found.weak),
        state=EventState(found.state),
        reason=None if found.reason is None else Reason(found.reason),
    )


def _message_row(row: tuple[Any, ...]) -> MessageRow:
    found = MessageRow(*row)
    return msgspec.structs.replace(
        found,
        state=MessageState(found.state),
        reason=None if found.reason is None else Reason(found.reason),
    )


def _rejection(row: tuple[Any, ...]) -> RejectionRow:
    id, kept, provider, topic, reason, detail, headers, *rest = row
    found = Rejection(provider, topic, Reason(reason), detail, _headers.decode(headers), *rest)
    return RejectionRow(id, found, bool(kept))
