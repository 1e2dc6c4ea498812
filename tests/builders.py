"""Values for tests, each with defaults that a test overrides where it matters."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from surehook.clock import Millis
from surehook.ids import EventId, MessageId, PayloadId, uuid7
from surehook.model import Action, Arrival, Claim, Failure, NewEvent, NewMessage, Payload, Settlement
from surehook.states import EventState

NOW = Millis(1_790_000_000_000)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def arrival(external_id: str = "evt_1", body: bytes = b'{"id": "evt_1"}', **changes: Any) -> Arrival:
    """One authentic request with one event. ``provider``, ``type``, ``id_is_signed``, ``now``, ``dead`` can be given."""
    now = changes.pop("now", NOW)
    event = NewEvent(
        id=EventId(uuid7(now)),
        external_id=external_id,
        type=changes.pop("type", "invoice.paid"),
        dead=changes.pop("dead", None),
        weak=changes.pop("weak", False),
    )
    payload = Payload(
        id=PayloadId(uuid7(now)),
        provider=changes.pop("provider", "stripe"),
        topic="billing",
        body=body,
        headers=(("content-type", "application/json"),),
        content_type="application/json",
        sha256=hashlib.sha256(body).digest(),
        received_at=now,
        secret="env:STRIPE_SECRET",
    )
    return Arrival(payload, (event,), **changes)


def batch(parts: Mapping[str, bytes], **changes: Any) -> Arrival:
    """One authentic request with several events: of each its external id and its bytes."""
    whole = arrival(body=b"[" + b",".join(parts.values()) + b"]", **changes)
    ids = sorted(EventId(uuid7(whole.payload.received_at)) for _ in parts)
    events = [
        NewEvent(
            id=ids[number],
            external_id=external_id,
            type="contact.created",
            item=number,
            part=f"/{number}",
            sha256=hashlib.sha256(part).digest(),
        )
        for number, (external_id, part) in enumerate(parts.items())
    ]
    return msgspec.structs.replace(whole, events=tuple(events))


def claim(**changes: Any) -> Claim:
    """An event that a worker may run."""
    values: dict[str, Any] = {
        "id": EventId(bytes(16)),
        "token": 1,
        "attempt": 1,
        "lost_leases": 0,
        "provider": "stripe",
        "topic": "billing",
        "external_id": "evt_1",
        "type": "invoice.paid",
        "subject": "in_1",
        "item": 0,
        "part": None,
        "occurred_at": Millis(1_700_000_000_000),
        "received_at": Millis(1_700_000_001_000),
        "traceparent": TRACE,
        "payload_id": PayloadId(bytes(16)),
        "headers": "[]",
        "content_type": "application/json",
        "body": b"{}",
    }
    return Claim(**(values | changes))


def message(destination: str = "ledger", now: int = NOW, **changes: Any) -> NewMessage:
    """A message of a handler."""
    values: dict[str, Any] = {"type": "payment.recorded", "body": b'{"type": "payment.recorded"}'} | changes
    return NewMessage(id=MessageId(uuid7(now)), destination=destination, **values)


def failure(now: int = NOW, **changes: Any) -> Failure:
    """Why an attempt failed."""
    values: dict[str, Any] = {
        "error_type": "ValueError",
        "message": "no such customer",
        "detail": "Traceback ...",
        "fingerprint": "f00d",
        "started_at": now,
        "failed_at": now,
        "worker": "here",
    }
    return Failure(**(values | changes))


def settlement(claim: Claim, state: Any = EventState.PROCESSED, now: int = NOW, **changes: Any) -> Settlement:
    """The end of an attempt."""
    return Settlement(id=claim.id, token=claim.token, state=state, at=Millis(now), **changes)


def action(now: int = NOW) -> Action:
    """An operator with a reason."""
    return Action(actor="ada", reason="the bug of ticket 7 is fixed", at=Millis(now))
