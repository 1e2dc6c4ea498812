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
from surehook.storage.named import Call, Statements, rows


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
    return await _act(db, _REPLAY_EVENT, ids, action)


async def discard_events(db: Statements, ids: Sequence[EventId], action: Action) -> list[ActionResult]:
    """Storage.discard_events."""
    return await _act(db, _DISCARD_EVENT, ids, action)


async def replay_messages(db: Statements, ids: Sequence[MessageId], action: Action) -> list[ActionResult]:
    """Storage.replay_messages."""
    return await _act(db, _REPLAY_MESSAGE, ids, action)


async def discard_messages(db: Statements, ids: Sequence[MessageId], action: Action) -> list[ActionResult]:
    """Storage.discard_messages."""
    return await _act(db, _DISCARD_MESSAGE, ids, action)


async def _act(db: Statements, hand: _Hand, ids: Sequence[bytes], action: Action) -> list[ActionResult]:
    """Move (or hurry) rows by hand and audit it, or leave them and say in which state each is."""
    # before any row: of two who replay the same rows, neither may hold what the other waits for
    await db.lock({"audit log"})
    ordered = sorted(set(ids))
    found = await db.rows([(hand.look, {"id": id}) for id in ordered])
    was = {id: state for id, rows in zip(ordered, found, strict=True) for (state,) in rows}
    moves = {id: move for id in ordered if id in was and (move := _move(hand, was[id]))}
    changed = await db.run(
        [(move, {"id": id, "was": was[id], "now": action.at}) for id, move in moves.items()]
    )
    done = {id: move for (id, move), count in zip(moves.items(), changed, strict=True) if count}
    await audit(
        db,
        action,
        [
            (done[id].replace("_", "."), typeid(hand.prefix, id), f'{{"was":"{was[id]}"}}')
            for id in dict.fromkeys(ids)
            if id in done
        ],
    )
    return [ActionResult(id, id in done, was.get(id)) for id in ids]


def _move(hand: _Hand, was: str) -> str | None:
    """The statement for a row in this state, if there is anything to do."""
    if was in hand.movable:
        return hand.move
    return hand.hurry if was == EventState.RETRYING else None


async def audit(db: Statements, action: Action, acts: Sequence[tuple[str, str, str]]) -> None:
    """An entry for each act: its name, the TypeID of its row, and more as JSON.

    Whoever calls it has locked the audit log before any row.
    """
    if not acts:
        return
    last = await rows(db, "last_audit_entry", {})
    end, previous = last[0] if last else (0, b"\0" * 32)
    calls: list[Call] = []
    for seq, (name, subject, detail) in enumerate(acts, end + 1):
        entry = AuditEntry(seq, action.at, action.actor, name, action.reason, subject, detail, previous, b"")
        previous = audit_hash(entry)
        calls.append(("insert_audit_entry", {**msgspec.structs.asdict(entry), "hash": previous}))
    await db.run(calls)


def audit_hash(entry: AuditEntry) -> bytes:
    """SHA-256 over the entry and the hash before it, so that no entry can be changed, removed or moved unseen."""
    covered = [entry.seq, entry.at, entry.actor, entry.action, entry.reason, entry.subject, entry.detail]
    return hashlib.sha256(entry.previous_hash + msgspec.json.encode(covered)).digest()
