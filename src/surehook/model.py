"""The rows and values that cross the seams: frozen, typed, without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from surehook.clock import Millis
from surehook.ids import EventId, MessageId, PayloadId, RejectionId
from surehook.states import EventState, MessageState, Reason

#: Header names are lower case; a repeated header is a repeated pair.
Headers = tuple[tuple[str, str], ...]


class Payload(msgspec.Struct, frozen=True):
    """One received request as it came."""

    id: PayloadId
    provider: str
    topic: str
    body: bytes
    headers: Headers
    content_type: str
    sha256: bytes
    received_at: Millis
    #: The reference (``env:NAME``) of the secret that verified it, never the secret; empty where none is used.
    secret: str = ""


class NewEvent(msgspec.Struct, frozen=True):
    """One event as a pack read it, about to be stored."""

    id: EventId
    external_id: str
    type: str
    subject: str | None = None
    #: Position in the payload, 0 for the only one.
    item: int = 0
    #: Where it stands in a payload that holds several (a JSON pointer), None for the only one, and the digest of its bytes.
    part: str | None = None
    sha256: bytes | None = None
    occurred_at: Millis | None = None
    #: The provider gave no id: ``external_id`` is the hash of the body.
    weak: bool = False
    #: Set when the event is to be stored as DEAD.
    dead: Reason | None = None
    #: Why it is dead, for the operator.
    error: str | None = None


class Arrival(msgspec.Struct, frozen=True):
    """One authentic request and the events in it: what ingest hands to the inbox."""

    payload: Payload
    events: tuple[NewEvent, ...]
    #: False where the provider's signature does not cover the external id (GitHub, Shopify): then the same body
    #: under another id within ``replay_window`` is suspect.
    id_is_signed: bool = True
    traceparent: str | None = None


class Accepted(msgspec.Struct, frozen=True):
    """What became of one event of an arrival. It is durable."""

    id: EventId
    duplicate: bool
    state: EventState


class Rejection(msgspec.Struct, frozen=True):
    """A request that was refused, or stored only as a duplicate although its body differed (ID_REUSED)."""

    provider: str
    topic: str
    reason: Reason
    #: What exactly failed, for the operator only; never sent to the caller.
    detail: str
    headers: Headers
    body_sha256: bytes
    body_size: int
    received_at: Millis
    remote: str = ""
    external_id: str | None = None
    method: str = "POST"
    query: str = ""
    #: The bytes, where they are kept; then ``headers`` are all that judging it again needs.
    body: bytes | None = None


class RejectionRow(msgspec.Struct, frozen=True):
    """A refused request as people see it. In a list its body is left out."""

    id: RejectionId
    rejection: Rejection
    #: Whether the body is kept.
    kept: bool


class Readmission(msgspec.Struct, frozen=True):
    """A refused request that was found to be authentic after all: what it should have become."""

    id: RejectionId
    arrival: Arrival


class Rereading(msgspec.Struct, frozen=True):
    """An event whose stored request was read again: what is read in that request now."""

    id: EventId
    arrival: Arrival


class Reread(msgspec.Struct, frozen=True):
    """What became of an event that was read again."""

    id: EventId
    #: The state it was in; None when there is no such event.
    was: str | None
    #: Whether its type, subject, time or place in the body is another one now.
    changed: bool = False
    #: Whether it was DEAD, since nobody could read it, and is RECEIVED now.
    revived: bool = False
    #: Events that its request was found to hold besides.
    added: tuple[EventId, ...] = ()
    #: Why it was left alone.
    why: str | None = None


class Claim(msgspec.Struct, frozen=True):
    """An event that this worker may run now, until the lease ends."""

    id: EventId
    #: Fences every later write of this worker.
    token: int
    #: 1 for the first; counted before it runs.
    attempt: int
    lost_leases: int
    provider: str
    topic: str
    external_id: str
    type: str
    subject: str | None
    item: int
    #: Where in the body it stands (a JSON pointer), None where it is all of it.
    part: str | None
    occurred_at: Millis | None
    received_at: Millis
    traceparent: str | None
    payload_id: PayloadId
    content_type: str
    #: The kept headers as JSON text; decoded only if a handler looks at them.
    headers: str
    #: None when the body is large: then it is read on its own, just before it is needed.
    body: bytes | None


class NewMessage(msgspec.Struct, frozen=True):
    """A message to be written in the transaction that completes an event."""

    id: MessageId
    destination: str
    type: str
    #: The bytes that are delivered, the same on every try.
    body: bytes
    subject: str | None = None
    order_key: str | None = None
    traceparent: str | None = None


class MessageClaim(msgspec.Struct, frozen=True):
    """A message that this publisher may send now, until the lease ends."""

    id: MessageId
    token: int
    attempt: int
    lost_leases: int
    destination: str
    type: str
    subject: str | None
    order_key: str | None
    body: bytes
    created_at: Millis
    traceparent: str | None


class Failure(msgspec.Struct, frozen=True):
    """Why one attempt failed."""

    error_type: str
    message: str
    #: Traceback of a handler, or the answer of a destination.
    detail: str
    #: Equal for failures of the same kind at the same place.
    fingerprint: str
    started_at: Millis
    failed_at: Millis
    worker: str = ""
    #: HTTP status of a destination's answer, where there was one.
    status: int | None = None


class Settlement(msgspec.Struct, frozen=True):
    """The end of one attempt at an event: its next state, and what is written with it, in one transaction."""

    id: EventId
    token: int
    state: Literal[
        EventState.PROCESSED, EventState.RETRYING, EventState.DEAD, EventState.IGNORED, EventState.RECEIVED
    ]
    at: Millis
    messages: tuple[NewMessage, ...] = ()
    failure: Failure | None = None
    #: When it is due again (RETRYING), else None.
    due_at: Millis | None = None
    reason: Reason | None = None
    #: True gives the attempt back: it was never run to an end (graceful stop).
    uncount: bool = False


class MessageSettlement(msgspec.Struct, frozen=True):
    """The end of one try at a message."""

    id: MessageId
    token: int
    state: Literal[MessageState.SENT, MessageState.RETRYING, MessageState.DEAD, MessageState.PENDING]
    at: Millis
    failure: Failure | None = None
    due_at: Millis | None = None
    reason: Reason | None = None
    uncount: bool = False


class Rescued(msgspec.Struct, frozen=True):
    """What a sweep took back from workers that are gone."""

    events: int = 0
    messages: int = 0
    #: Of those, how many became DEAD with reason POISON.
    poisoned: int = 0
    #: The events that are due again.
    due: tuple[EventId, ...] = ()


class Action(msgspec.Struct, frozen=True):
    """Who does something to rows by hand, and why; it becomes an audit row."""

    actor: str
    reason: str
    at: Millis


class ActionResult(msgspec.Struct, frozen=True):
    """What became of one row that an action named."""

    id: bytes
    done: bool
    #: The state the row was in before; None when there is no such row.
    was: str | None


class EventRow(msgspec.Struct, frozen=True):
    """An event as people see it."""

    id: EventId
    provider: str
    topic: str
    external_id: str
    weak: bool
    type: str
    subject: str | None
    item: int
    payload_id: PayloadId
    state: EventState
    reason: Reason | None
    attempts: int
    lost_leases: int
    duplicates: int
    replays: int
    occurred_at: Millis | None
    received_at: Millis
    due_at: Millis | None
    lease_until: Millis | None
    updated_at: Millis
    finished_at: Millis | None
    last_error: str | None
    traceparent: str | None


class MessageRow(msgspec.Struct, frozen=True):
    """A message as people see it."""

    id: MessageId
    event_id: EventId
    destination: str
    type: str
    subject: str | None
    order_key: str | None
    state: MessageState
    reason: Reason | None
    attempts: int
    lost_leases: int
    replays: int
    created_at: Millis
    due_at: Millis | None
    lease_until: Millis | None
    updated_at: Millis
    finished_at: Millis | None
    last_error: str | None
    size: int
    traceparent: str | None


class FailureRow(msgspec.Struct, frozen=True):
    """A failed attempt as people see it."""

    attempt: int
    failure: Failure


class AuditEntry(msgspec.Struct, frozen=True):
    """One operator action. ``hash`` covers the entry and the hash before it."""

    seq: int
    at: Millis
    actor: str
    action: str
    reason: str
    subject: str
    detail: str
    previous_hash: bytes
    hash: bytes


class RowFilter(msgspec.Struct, frozen=True):
    """What to list. Empty fields do not restrict. Newest first."""

    state: str | None = None
    provider: str | None = None
    #: Exact type, or a prefix that ends in ``*``.
    type: str | None = None
    external_id: str | None = None
    destination: str | None = None
    event_id: EventId | None = None
    #: Of rejections: only with this reason.
    reason: str | None = None
    #: Of events and rejections: only what was received at this moment or later.
    since: Millis | None = None
    limit: int = 50
    #: Continue after this id (exclusive): the last of the page before.
    before: bytes | None = None


class IgnoredEvent(msgspec.Struct, frozen=True):
    """What tells whether there is a handler for an event that was IGNORED."""

    id: EventId
    provider: str
    topic: str
    type: str
    finished_at: Millis


#: Up to so many rows of a table, or of a state, are counted one by one.
COUNTED = 10_000


class Counts(msgspec.Struct, frozen=True):
    """How many rows stand where.

    Up to ``COUNTED`` rows a table is counted exactly. Beyond that, a state is counted up to that number and then stands in
    ``at_least``, and what is finished and not looked for by name (PROCESSED, SENT) is ``about`` so many, by the database's
    own statistics: so that looking costs the same at any length of the history.
    """

    events: Mapping[str, int]
    messages: Mapping[str, int]
    #: Deliveries of what was stored already; None where there are too many events to add them up.
    duplicates: int | None
    rejections: Mapping[str, int]
    at_least: frozenset[str] = frozenset()
    about: frozenset[str] = frozenset()
