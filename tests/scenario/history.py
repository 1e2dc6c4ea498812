"""What happened, as three witnesses tell it: the sender's journal, the database and the receivers' logs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from surehook.ids import EVENT_PREFIX, MESSAGE_PREFIX, typeid
from tests.scenario.databases import Database

T = TypeVar("T", bound=msgspec.Struct)

#: (provider, external id): what an event is stored once by.
Key = tuple[str, str]


class Request(msgspec.Struct, frozen=True):
    """One try of a sender: a line of its journal."""

    provider: str
    external_id: str
    sha256: str
    #: None: no answer came, so nobody can tell whether it was stored.
    status: int | None
    #: The event's id and whether it was known already, as the answer said.
    event: str | None = None
    duplicate: bool | None = None

    @property
    def key(self) -> Key:
        return self.provider, self.external_id

    @property
    def acknowledged(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        return self.status is not None and 400 <= self.status < 500


class StoredEvent(msgspec.Struct, frozen=True):
    """One row of the inbox."""

    id: str
    provider: str
    external_id: str
    type: str
    state: str
    duplicates: int
    #: Of the payload's body, computed from its bytes; None when there is no such payload.
    sha256: str | None
    #: The same, as the row says.
    recorded_sha256: str

    @property
    def key(self) -> Key:
        return self.provider, self.external_id


class StoredMessage(msgspec.Struct, frozen=True):
    """One row of the outbox."""

    id: str
    event: str
    destination: str
    state: str
    sha256: str


class Delivery(msgspec.Struct, frozen=True):
    """One request that a receiver got: a line of its log."""

    destination: str
    #: ``webhook-id``.
    id: str
    sha256: str
    #: Whether the official library accepted the signature.
    verified: bool
    #: None: it was left hanging.
    status: int | None
    #: Milliseconds since the epoch.
    at: int

    @property
    def arrived(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class History(msgspec.Struct, frozen=True):
    """All of it."""

    requests: Sequence[Request]
    events: Sequence[StoredEvent]
    #: The id of the event, for each row that a handler wrote to the application's own table.
    effects: Sequence[str]
    messages: Sequence[StoredMessage]
    deliveries: Sequence[Delivery]


def read_history(database: Database, journals: Iterable[Path], logs: Iterable[Path]) -> History:
    """Gather what the three witnesses say; the system should be at rest or gone."""
    return History(
        requests=[request for path in journals for request in read_lines(path, Request)],
        events=_events(database),
        effects=[event for (event,) in database.query("SELECT event_id FROM effects")],
        messages=_messages(database),
        deliveries=[delivery for path in logs for delivery in read_lines(path, Delivery)],
    )


def read_lines(path: Path, kind: type[T]) -> list[T]:
    """The lines of a journal or log; a missing file holds none."""
    if not path.exists():
        return []
    decoder = msgspec.json.Decoder(kind)
    return [decoder.decode(line) for line in path.read_bytes().splitlines()]


def _events(database: Database) -> list[StoredEvent]:
    rows = database.query(
        "SELECT e.id, e.provider, e.external_id, e.type, e.state, e.duplicates, p.body, e.body_sha256"
        " FROM inbox_events e LEFT JOIN inbox_payloads p ON p.id = e.payload_id"
    )
    return [
        StoredEvent(
            id=typeid(EVENT_PREFIX, id),
            provider=provider,
            external_id=external_id,
            type=type,
            state=state,
            duplicates=duplicates,
            sha256=None if body is None else digest(body),
            recorded_sha256=recorded.hex(),
        )
        for id, provider, external_id, type, state, duplicates, body, recorded in rows
    ]


def _messages(database: Database) -> list[StoredMessage]:
    rows = database.query("SELECT id, event_id, destination, state, body FROM outbox_messages")
    return [
        StoredMessage(
            typeid(MESSAGE_PREFIX, id), typeid(EVENT_PREFIX, event), destination, state, digest(body)
        )
        for id, event, destination, state, body in rows
    ]


def digest(body: bytes) -> str:
    """How bodies are compared across the witnesses."""
    return hashlib.sha256(body).hexdigest()
