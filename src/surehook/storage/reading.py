"""Every reading verb once, over named statements, for every database."""

from __future__ import annotations

from typing import Any

import msgspec

from surehook.clock import Millis
from surehook.ids import EventId, MessageId, PayloadId
from surehook.model import (
    AuditEntry,
    Counts,
    EventRow,
    Failure,
    FailureRow,
    Headers,
    MessageRow,
    Payload,
    Rejection,
    RowFilter,
)
from surehook.states import EventState, MessageState, Reason
from surehook.storage.sql import Statements

_headers = msgspec.json.Decoder(Headers)


async def event(db: Statements, id: EventId) -> EventRow | None:
    """Reader.event."""
    rows = await db.rows("get_event", {"id": id})
    return _event_row(rows[0]) if rows else None


async def events(db: Statements, wanted: RowFilter) -> list[EventRow]:
    """Reader.events."""
    parameters = {
        **_common(wanted),
        "provider": wanted.provider,
        "external_id": wanted.external_id,
    }
    return [_event_row(row) for row in await db.rows("find_events", parameters)]


async def payload(db: Statements, id: PayloadId) -> Payload | None:
    """Reader.payload."""
    rows = await db.rows("get_payload", {"id": id})
    if not rows:
        return None
    found, provider, topic, body, headers, content_type, sha256, received_at, secret = rows[0]
    return Payload(
        found, provider, topic, body, _headers.decode(headers), content_type, sha256, received_at, secret
    )


async def message(db: Statements, id: MessageId) -> MessageRow | None:
    """Reader.message."""
    rows = await db.rows("get_message", {"id": id})
    return _message_row(rows[0]) if rows else None


async def message_body(db: Statements, id: MessageId) -> bytes | None:
    """Reader.message_body."""
    rows = await db.rows("get_message_body", {"id": id})
    return rows[0][0] if rows else None


async def messages(db: Statements, wanted: RowFilter) -> list[MessageRow]:
    """Reader.messages."""
    parameters = {**_common(wanted), "destination": wanted.destination, "event_id": wanted.event_id}
    return [_message_row(row) for row in await db.rows("find_messages", parameters)]


async def failures(db: Statements, id: EventId | MessageId) -> list[FailureRow]:
    """Reader.failures."""
    rows = await db.rows("find_failures", {"row_id": id})
    return [FailureRow(attempt, Failure(*rest)) for attempt, *rest in rows]


async def rejections(db: Statements, limit: int) -> list[Rejection]:
    """Reader.rejections."""
    return [_rejection(row) for row in await db.rows("find_rejections", {"limit": limit})]


async def audit(db: Statements, limit: int, subject: str | None) -> list[AuditEntry]:
    """Reader.audit."""
    statement = "find_audit" if subject is None else "find_audit_of"
    return [AuditEntry(*row) for row in await db.rows(statement, {"limit": limit, "subject": subject})]


async def counts(db: Statements) -> Counts:
    """Reader.counts."""
    events = await db.rows("count_events", {})
    messages = await db.rows("count_messages", {})
    rejections = await db.rows("count_rejections", {})
    return Counts(
        events={state: count for state, count, _ in events},
        messages=dict(messages),
        duplicates=sum(duplicates for _, _, duplicates in events),
        rejections=dict(rejections),
    )


async def ignored_since(
    db: Statements, since: Millis, after: EventId | None, limit: int
) -> list[tuple[EventId, str, str, str]]:
    """Reader.ignored_since."""
    rows = await db.rows("find_ignored", {"since": since, "after": after or b"\0" * 16, "limit": limit})
    return [(id, provider, topic, type) for id, provider, topic, type in rows]


async def due(db: Statements, before: Millis, limit: int) -> list[EventId]:
    """Reader.due."""
    return [id for (id,) in await db.rows("find_due", {"before": before, "limit": limit})]


async def database_time(db: Statements) -> Millis:
    """Reader.database_time."""
    [(now,)] = await db.rows("database_time", {})
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


def _rejection(row: tuple[Any, ...]) -> Rejection:
    found = Rejection(*_reordered(row))
    return msgspec.structs.replace(found, reason=Reason(found.reason))


def _reordered(row: tuple[Any, ...]) -> tuple[Any, ...]:
    provider, topic, reason, detail, headers, *rest = row
    return (provider, topic, reason, detail, _headers.decode(headers), *rest)
