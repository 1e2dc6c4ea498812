"""The states of events and messages, and the only moves between them.

CHECK constraints in the migrations, the diagram in ``docs/concepts.md`` and the tests are verified against this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class EventState(StrEnum):
    """Where an event stands in the inbox."""

    RECEIVED = "RECEIVED"
    PROCESSING = "PROCESSING"
    RETRYING = "RETRYING"
    PROCESSED = "PROCESSED"
    IGNORED = "IGNORED"
    DEAD = "DEAD"
    DISCARDED = "DISCARDED"


class MessageState(StrEnum):
    """Where a message stands in the outbox."""

    PENDING = "PENDING"
    SENDING = "SENDING"
    RETRYING = "RETRYING"
    SENT = "SENT"
    DEAD = "DEAD"
    DISCARDED = "DISCARDED"


class Reason(StrEnum):
    """Why an event or message is DEAD, or why a request left a rejection row behind."""

    #: The retries of the policy are used up.
    EXHAUSTED = "EXHAUSTED"
    #: A handler raised ``Reject``, or the destination answered that it will never want this (410).
    REJECTED = "REJECTED"
    #: Too many leases were lost while it ran: it may be what kills the workers.
    POISON = "POISON"
    #: Authentic, but the body is not what the pack can read.
    UNPARSABLE = "UNPARSABLE"
    #: Authentic, but the same body came lately under another, unsigned, id.
    REPLAY_SUSPECT = "REPLAY_SUSPECT"
    #: The external id is known already, with another body.
    ID_REUSED = "ID_REUSED"
    #: The signature is missing, malformed, stale or wrong.
    BAD_SIGNATURE = "BAD_SIGNATURE"


EVENT_MOVES: Final[Mapping[EventState | None, frozenset[EventState]]] = {
    None: frozenset({EventState.RECEIVED, EventState.DEAD}),
    EventState.RECEIVED: frozenset({EventState.PROCESSING}),
    EventState.RETRYING: frozenset({EventState.PROCESSING}),
    EventState.PROCESSING: frozenset(
        {
            EventState.PROCESSED,
            EventState.RETRYING,
            EventState.DEAD,
            EventState.IGNORED,
            EventState.RECEIVED,
        }
    ),
    EventState.PROCESSED: frozenset({EventState.RECEIVED}),
    EventState.IGNORED: frozenset({EventState.RECEIVED}),
    EventState.DEAD: frozenset({EventState.RECEIVED, EventState.DISCARDED}),
    EventState.DISCARDED: frozenset({EventState.RECEIVED}),
}

MESSAGE_MOVES: Final[Mapping[MessageState | None, frozenset[MessageState]]] = {
    None: frozenset({MessageState.PENDING}),
    MessageState.PENDING: frozenset({MessageState.SENDING}),
    MessageState.RETRYING: frozenset({MessageState.SENDING}),
    MessageState.SENDING: frozenset(
        {MessageState.SENT, MessageState.RETRYING, MessageState.DEAD, MessageState.PENDING}
    ),
    MessageState.SENT: frozenset({MessageState.PENDING}),
    MessageState.DEAD: frozenset({MessageState.PENDING, MessageState.DISCARDED}),
    MessageState.DISCARDED: frozenset({MessageState.PENDING}),
}


#: States that a claim takes rows from.
CLAIMABLE_EVENTS: Final = frozenset({EventState.RECEIVED, EventState.RETRYING})
CLAIMABLE_MESSAGES: Final = frozenset({MessageState.PENDING, MessageState.RETRYING})

#: States that only a person (or, for IGNORED, a new handler) moves a row out of.
FINISHED_EVENTS: Final = frozenset(
    {EventState.PROCESSED, EventState.IGNORED, EventState.DEAD, EventState.DISCARDED}
)
FINISHED_MESSAGES: Final = frozenset({MessageState.SENT, MessageState.DEAD, MessageState.DISCARDED})

#: States that a replay starts from, and the ones that can be discarded.
REPLAYABLE_EVENTS: Final = FINISHED_EVENTS
REPLAYABLE_MESSAGES: Final = FINISHED_MESSAGES
DISCARDABLE_EVENTS: Final = frozenset({EventState.DEAD})
DISCARDABLE_MESSAGES: Final = frozenset({MessageState.DEAD})
