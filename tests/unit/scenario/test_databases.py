"""What the scenarios read from a database of either kind is what is there, and the checker finds what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import msgspec
import psycopg
import pytest

from surehook.clock import ManualClock, Millis
from surehook.ids import EVENT_PREFIX, MESSAGE_PREFIX, typeid
from surehook.model import MessageSettlement
from surehook.states import MessageState
from surehook.storage.postgres import open_postgres
from surehook.storage.sqlite import open_sqlite
from tests.builders import NOW, arrival, failure, message, settlement
from tests.conftest import AnyDatabase
from tests.scenario.backends import Backend, on_postgres, on_sqlite
from tests.scenario.checker import Expected, Rule, check
from tests.scenario.history import Delivery, History, Request, digest, read_history
from tests.services import PostgresServer

LEASE = Millis(NOW + 60_000)
EXPECTED = {"invoice.paid": Expected()}
BODY = b'{"id": "evt_1"}'

Plant = Callable[[str], None]


class Site(msgspec.Struct, frozen=True):
    """A database in which one event has gone all the way, and what the other witnesses say of it."""

    backend: Backend
    journal: Path
    log: Path
    event: bytes

    def history(self) -> History:
        return read_history(self.backend.database, [self.journal], [self.log])

    def rules(self) -> set[Rule]:
        return {violation.rule for violation in check(self.history(), EXPECTED)}


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    if request.param == "sqlite":
        yield on_sqlite(tmp_path / "surehook.db")
        return
    postgres: PostgresServer = request.getfixturevalue("postgres")
    with postgres.database() as url:
        yield on_postgres(url)


@pytest.fixture
async def site(backend: Backend, tmp_path: Path, clock: ManualClock) -> Site:
    url = backend.settings["database"]
    database: AnyDatabase = await (
        open_sqlite(url) if backend.name.startswith("sqlite") else open_postgres(url)
    )
    try:
        await database.migrate(clock)
        return await go_all_the_way(database, Site(backend, tmp_path / "journal", tmp_path / "log", b""))
    finally:
        await database.close()


async def go_all_the_way(database: AnyDatabase, site: Site) -> Site:
    """One event, sent twice and failed once, then processed; its message is sent."""
    storage, written = database.storage, message()
    [[accepted]] = await storage.accept([arrival()])
    await storage.accept([arrival()])
    [claim] = await storage.claim(1, NOW, LEASE)
    await storage.settle([settlement(claim, "RETRYING", due_at=NOW, failure=failure())])
    [claim] = await storage.claim(1, NOW, LEASE)
    unit = storage.begin(claim)
    event = typeid(EVENT_PREFIX, accepted.id)
    await unit.execute("CREATE TABLE effects (event_id text NOT NULL, external_id text NOT NULL)")
    await unit.execute("INSERT INTO effects VALUES (:event, 'evt_1')", {"event": event})
    await unit.complete(settlement(claim, messages=(written,)))
    [sending] = await storage.claim_messages("ledger", 1, NOW, LEASE)
    await storage.settle_messages([MessageSettlement(sending.id, sending.token, MessageState.SENT, NOW)])
    tries = [Request("stripe", "evt_1", digest(BODY), 200, event, again) for again in (False, True)]
    delivery = Delivery("ledger", typeid(MESSAGE_PREFIX, written.id), digest(written.body), True, 204, NOW)
    site.journal.write_bytes(b"\n".join(map(msgspec.json.encode, tries)))
    site.log.write_bytes(msgspec.json.encode(delivery))
    return msgspec.structs.replace(site, event=accepted.id)


@pytest.fixture
def plant(site: Site) -> Plant:
    """Writes into the database what Surehook never would."""

    def execute(statement: str) -> None:
        if site.backend.name.startswith("sqlite"):
            with closing(
                apsw.Connection(site.backend.settings["database"].removeprefix("sqlite:///"))
            ) as file:
                file.execute(statement)
        else:
            with psycopg.connect(site.backend.settings["database"]) as connection:
                connection.execute(statement.encode())

    return execute


FAULTS: list[tuple[str, set[Rule]]] = [
    ("DELETE FROM inbox_events", {Rule.LOST, Rule.ORPHAN_EFFECT, Rule.ORPHAN_MESSAGE}),
    ("DELETE FROM effects", {Rule.EFFECTS}),
    ("INSERT INTO effects SELECT * FROM effects", {Rule.EFFECTS}),
    ("UPDATE effects SET event_id = 'evt_9'", {Rule.EFFECTS, Rule.ORPHAN_EFFECT}),
    ("DELETE FROM outbox_messages", {Rule.MESSAGES, Rule.INVENTED}),
    ("DELETE FROM inbox_payloads", {Rule.OTHER_BODY, Rule.CORRUPT}),
    ("UPDATE inbox_payloads SET body = sha256", {Rule.OTHER_BODY, Rule.CORRUPT}),
    ("UPDATE inbox_events SET body_sha256 = (SELECT body FROM outbox_messages)", {Rule.CORRUPT}),
    ("UPDATE inbox_events SET external_id = 'evt_9'", {Rule.LOST, Rule.PHANTOM}),
    ("UPDATE inbox_events SET duplicates = 0", {Rule.UNCOUNTED}),
    ("UPDATE inbox_events SET type = 'invoice.lost'", {Rule.UNKNOWN_TYPE}),
    (
        "UPDATE inbox_events SET state = 'RETRYING', due_at = 1, finished_at = NULL",
        {Rule.UNFINISHED, Rule.EFFECTS, Rule.MESSAGES},
    ),
    ("UPDATE inbox_events SET state = 'DEAD'", {Rule.UNFINISHED, Rule.EFFECTS, Rule.MESSAGES}),
    ("UPDATE outbox_messages SET state = 'PENDING', due_at = 1, finished_at = NULL", {Rule.UNSENT}),
    ("UPDATE outbox_messages SET body = (SELECT sha256 FROM inbox_payloads)", {Rule.OTHER_CONTENT}),
    ("UPDATE outbox_messages SET destination = 'store'", {Rule.UNDELIVERED, Rule.MISDIRECTED}),
]


async def test_what_went_well_has_no_violation(site: Site) -> None:
    assert site.rules() == set()
    assert site.backend.database.unfinished() == 0


@pytest.mark.parametrize(("statement", "rules"), FAULTS)
async def test_each_planted_fault_is_found(
    site: Site, plant: Plant, statement: str, rules: set[Rule]
) -> None:
    plant(statement)
    assert site.rules() == rules


async def test_what_is_not_at_rest_is_counted(site: Site, plant: Plant) -> None:
    plant("UPDATE inbox_events SET state = 'RETRYING', due_at = 1, finished_at = NULL")
    plant("UPDATE outbox_messages SET state = 'PENDING', due_at = 1, finished_at = NULL")
    assert site.backend.database.unfinished() == 2


async def test_rows_are_read_as_they_are(site: Site) -> None:
    database = site.backend.database
    event = database.event("evt_1")
    assert [event["id"], event["state"], event["attempts"], event["duplicates"]] == [
        site.event,
        "PROCESSED",
        2,
        1,
    ]
    [written] = database.messages(event["id"])
    assert [written["event_id"], written["state"], written["body"]] == [site.event, "SENT", message().body]
    assert [(each["row_id"], each["message"]) for each in database.failures(site.event)] == [
        (site.event, failure().message)
    ]
    assert database.effects("evt_1") == 1
    assert database.value("SELECT sum(attempts) AS tried FROM inbox_events WHERE id = ?", site.event) == 2
    assert [database.event("evt_9"), database.messages(bytes(16)), database.effects("evt_9")] == [{}, [], 0]


async def test_a_look_cannot_write(site: Site) -> None:
    with pytest.raises((apsw.ReadOnlyError, psycopg.errors.ReadOnlySqlTransaction)):
        site.backend.database.rows("DELETE FROM effects")
    assert site.backend.database.effects("evt_1") == 1
