"""The verbs of people: replay and discard, audited in a chain of hashes. Once for every database."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from surehook.ids import EVENT_PREFIX, MESSAGE_PREFIX, EventId, MessageId, typeid
from surehook.model import Action, ActionResult, AuditEntry
from surehook.states import (
    DISCARDABLE_EVENTS,
    DISCARDABLE_MESSAGES,
    REPLAYABLE_EVENTS,
    REPLAYABLE_MESSAGES,
    EventState,
    MessageState,
)
from surehook.storage.named import Statements, rows, run


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
    found = await rows(db, hand.look, {"id": id})
    if not found:
        return ActionResult(id, False, None)
    was = found[0][0]
    statement = hand.move if was in hand.movable else hand.hurry if was == EventState.RETRYING else None
    wanted = {"id": id, "was": was, "now": action.at}
    done = statement is not None and bool(await run(db, statement, wanted))
    if statement is not None and done:
        await _audit(db, action, statement.replace("_", "."), typeid(hand.prefix, id), f'{{"was":"{was}"}}')
    return ActionResult(id, done, was)


async def _audit(db: Statements, action: Action, name: str, subject: str, detail: str) -> None:
    await db.lock({"audit log"})
    last = await rows(db, "last_audit_entry", {})
    seq, previous = (last[0][0], last[0][1]) if last else (0, b"\0" * 32)
    entry = AuditEntry(seq + 1, action.at, action.actor, name, action.reason, subject, detail, previous, b"")
    row = msgspec.structs.asdict(entry)
    row["hash"] = audit_hash(entry)
    await run(db, "insert_audit_entry", row)


def audit_hash(entry: AuditEntry) -> bytes:
    """SHA-256 over the entry and the hash before it, so that no entry can be changed, removed or moved unseen."""
    covered = [entry.seq, entry.at, entry.actor, entry.action, entry.reason, entry.subject, entry.detail]
    return hashlib.sha256(entry.previous_hash + msgspec.json.encode(covered)).digest()
