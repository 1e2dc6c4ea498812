"""The same history on SQLite and on PostgreSQL has the same answers and leaves the same rows.

Hypothesis chooses verbs and what they are given: known and unknown ids, leases that are held, lost or ended. Both adapters
get the same calls, and every answer is compared, then every row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from surehook.clock import ManualClock, Millis
from surehook.errors import LeaseLost
from surehook.ids import EventId, uuid7
from surehook.model import Arrival, Claim, EventRow, MessageClaim, MessageSettlement, Rejection, RowFilter
from surehook.states import EventState, MessageState, Reason
from surehook.storage import UnitOfWork
from surehook.storage.dialect import OWN_TABLES
from surehook.storage.postgres import open_postgres
from surehook.storage.sqlite import open_sqlite
from tests.builders import action, arrival, failure, message, settlement
from tests.conftest import AnyDatabase
from tests.services import PostgresServer

LEASE = 1_000
POISON_AFTER = 3
#: Texts that the two databases could take differently.
NAMES = ("a", "B", "b", "a b", "ä", "z\u0301", "\U0001f980", "a'b", "a\\b", "%s", "?", ":x", "$1")
ALL = 1_000

Verb = Callable[[AnyDatabase], Coroutine[Any, Any, Any]]


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> Iterator[str]:
    """A migrated database with a table of the application's."""
    with postgres.database() as url, ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, prepare(url)).result()
        yield url


async def prepare(url: str) -> None:
    database = await opened(url)
    await database.close()


async def opened(url: str) -> AnyDatabase:
    database: AnyDatabase = await (open_sqlite(url) if url.startswith("sqlite") else open_postgres(url))
    await database.migrate(ManualClock())

    async def tables(unit: UnitOfWork) -> None:
        await unit.execute("CREATE TABLE IF NOT EXISTS effects (name text PRIMARY KEY, value bigint)")

    await database.run_setup([tables])
    return database


def emptied(url: str) -> None:
    """What the example before has left is gone."""
    tables = ", ".join([*sorted(OWN_TABLES - {"schema_migrations"}), "effects"])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {tables}".encode())


class Twins(RuleBasedStateMachine):
    """One of each kind under the same use."""

    url = ""
    folder = Path()
    number = 0

    def __init__(self) -> None:
        super().__init__()
        emptied(self.url)
        Twins.number += 1
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.ids: set[EventId] = set()
        self.claims: list[Claim] = []
        self.sending: list[MessageClaim] = []
        file = f"sqlite:///{self.folder}/{Twins.number}.db?synchronous=OFF"
        self.twins = [self.runner.run(opened(each)) for each in (file, self.url)]

    def teardown(self) -> None:
        try:
            self.compare_all()
        finally:
            for twin in self.twins:
                self.runner.run(twin.close())
            self.runner.close()

    def both(self, verb: Verb, *, key: Callable[[Any], Any] = lambda answer: answer) -> Any:
        """The answer, if it is the same on both; ``key`` takes out of it what has to be."""
        [one, two] = [self.runner.run(verb(twin)) for twin in self.twins]
        assert key(one) == key(two)
        return one

    def compare_all(self) -> None:
        events = self.both(lambda twin: twin.reader.events(RowFilter(limit=ALL)), key=without_originals)
        messages = self.both(lambda twin: twin.reader.messages(RowFilter(limit=ALL)))
        for row in (*events, *messages):
            self.both(lambda twin, id=row.id: twin.reader.failures(id))  # type: ignore[misc] # mypy infers no default
        for event in events:
            self.both(lambda twin, id=event.payload_id: twin.reader.payload(id))  # type: ignore[misc]
        self.both(lambda twin: twin.reader.audit(ALL))
        self.both(
            lambda twin: twin.reader.rejections(RowFilter(limit=ALL)),
            key=lambda found: sorted(repr(each.rejection) for each in found),
        )
        self.both(lambda twin: twin.reader.counts())
        self.both(effects)

    def tick(self) -> Millis:
        """No two rows have the same time, so that their order is the same."""
        self.clock.advance(1)
        return self.clock.now()

    @rule(data=st.data(), signed=st.booleans())
    def accept(self, data: st.DataObject, signed: bool) -> None:
        batch = [self.arrival(data, signed) for _ in range(data.draw(st.integers(1, 4)))]
        answers = self.both(lambda twin: twin.storage.accept(batch))
        self.ids |= {accepted.id for answer in answers for accepted in answer}

    def arrival(self, data: st.DataObject, signed: bool) -> Arrival:
        """One to three events, some of them known, in a body that may have come under another id."""
        now = self.tick()
        body = data.draw(st.sampled_from([b"one", b"two", b"\x00\xff"]))
        dead = data.draw(st.sampled_from([None, None, None, Reason.UNPARSABLE]))
        first = arrival("", body, now=now, id_is_signed=signed, dead=dead)
        [event] = first.events
        names = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3))
        items = [
            msgspec.structs.replace(event, id=EventId(uuid7(self.tick())), external_id=name, item=item)
            for item, name in enumerate(names)
        ]
        return msgspec.structs.replace(first, events=tuple(items))

    @rule(limit=st.integers(1, 4), named=st.booleans(), data=st.data())
    def claim(self, limit: int, named: bool, data: st.DataObject) -> None:
        now = self.tick()
        only = self.some_ids(data) if named else None
        claims = self.both(lambda twin: twin.storage.claim(limit, now, Millis(now + LEASE), only))
        self.claims += claims

    def some_ids(self, data: st.DataObject) -> list[EventId]:
        """Known and unknown ones, some of them twice."""
        known = sorted(self.ids) or [EventId(uuid7(1))]
        return data.draw(st.lists(st.sampled_from([*known, EventId(b"\xff" * 16)]), max_size=4))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), state=st.sampled_from(sorted(end for end in EventState if end != "PROCESSING")))
    def settle(self, data: st.DataObject, state: EventState) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.claims), max_size=3))
        ends = [self.end_of(claim, data, state) for claim in chosen if state is not EventState.DISCARDED]
        self.both(lambda twin: twin.storage.settle(ends))

    def end_of(self, claim: Claim, data: st.DataObject, state: EventState) -> Any:
        now = self.tick()
        failed = failure(now, message=data.draw(st.sampled_from(NAMES))) if data.draw(st.booleans()) else None
        written = [message(data.draw(st.sampled_from(["ledger", "search"])), now)] * data.draw(
            st.integers(0, 1)
        )
        return settlement(
            claim,
            state,
            now,
            messages=tuple(written),
            failure=failed,
            due_at=Millis(now + 50) if state is EventState.RETRYING else None,
            reason=Reason.EXHAUSTED if state is EventState.DEAD else None,
            uncount=data.draw(st.booleans()) and state in {EventState.RETRYING, EventState.RECEIVED},
        )

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), names=st.lists(st.sampled_from(NAMES), max_size=3))
    def complete(self, data: st.DataObject, names: list[str]) -> None:
        """A handler that writes, whose second statement may fail, and who may have lost its lease."""
        claim = data.draw(st.sampled_from(self.claims))
        end = self.end_of(claim, data, EventState.PROCESSED)

        async def work(twin: AnyDatabase) -> list[Any]:
            unit = twin.storage.begin(claim)
            seen: list[Any] = []
            try:
                for name in names:
                    seen.append(await inserted(unit, name))
                seen.append(
                    await unit.fetch(
                        "SELECT name, value FROM effects WHERE name <> ? ORDER BY value, name", ["%"]
                    )
                )
                await unit.complete(end)
            except LeaseLost:
                seen.append("lost")
            finally:
                await unit.rollback()
            return seen

        self.both(work)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        now = self.tick()
        chosen = data.draw(st.lists(st.sampled_from(self.claims), max_size=3))
        self.both(lambda twin: twin.storage.extend(chosen, Millis(now + LEASE)))

    @rule(limit=st.integers(1, 3), destination=st.sampled_from(["ledger", "search"]))
    def claim_messages(self, limit: int, destination: str) -> None:
        now = self.tick()
        self.sending += self.both(
            lambda twin: twin.storage.claim_messages(destination, limit, now, Millis(now + LEASE))
        )

    @precondition(lambda self: self.sending)
    @rule(data=st.data(), state=st.sampled_from(["SENT", "RETRYING", "DEAD", "PENDING"]))
    def settle_messages(self, data: st.DataObject, state: str) -> None:
        now = self.tick()
        chosen = data.draw(st.lists(st.sampled_from(self.sending), max_size=3))
        ends = [
            MessageSettlement(
                claim.id,
                claim.token,
                MessageState(state),  # type: ignore[arg-type] # it is one of the four
                now,
                failure=failure(now, status=503) if state in {"RETRYING", "DEAD"} else None,
                due_at=Millis(now + 50) if state == "RETRYING" else None,
                reason=Reason.REJECTED if state == "DEAD" else None,
            )
            for claim in chosen
        ]
        self.both(lambda twin: twin.storage.settle_messages(ends))

    @precondition(lambda self: self.sending)
    @rule(data=st.data())
    def extend_messages(self, data: st.DataObject) -> None:
        now = self.tick()
        chosen = data.draw(st.lists(st.sampled_from(self.sending), max_size=3))
        self.both(lambda twin: twin.storage.extend_messages(chosen, Millis(now + LEASE)))

    @rule()
    def rescue(self) -> None:
        """All of them: the leases of one claim end together, and under a limit either database takes any of those."""
        now = self.tick()
        self.both(
            lambda twin: twin.storage.rescue(now, poison_after=POISON_AFTER, limit=ALL),
            key=lambda found: msgspec.structs.replace(found, due=tuple(sorted(found.due))),
        )

    @rule(data=st.data(), verb=st.sampled_from(["replay", "discard", "take back"]))
    def act(self, data: st.DataObject, verb: str) -> None:
        now = self.tick()
        ids = self.some_ids(data)
        if verb == "replay":
            self.both(lambda twin: twin.storage.replay_events(ids, action(now)))
        elif verb == "discard":
            self.both(lambda twin: twin.storage.discard_events(ids, action(now)))
        else:
            self.both(lambda twin: twin.storage.take_back(ids, now))

    @precondition(lambda self: self.sending)
    @rule(data=st.data(), verb=st.sampled_from(["replay", "discard"]))
    def act_on_messages(self, data: st.DataObject, verb: str) -> None:
        now = self.tick()
        ids = [claim.id for claim in data.draw(st.lists(st.sampled_from(self.sending), max_size=3))]
        if verb == "replay":
            self.both(lambda twin: twin.storage.replay_messages(ids, action(now)))
        else:
            self.both(lambda twin: twin.storage.discard_messages(ids, action(now)))

    @rule(name=st.sampled_from(NAMES))
    def reject(self, name: str) -> None:
        refused = Rejection(
            name, name, Reason.BAD_SIGNATURE, name, ((name, name),), b"\0" * 32, 5, self.tick()
        )
        self.both(lambda twin: twin.storage.reject([refused], keep=ALL))

    @rule(milliseconds=st.sampled_from([1, 60, LEASE + 1, 30_000]))
    def wait(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds)

    @rule(
        state=st.sampled_from([None, *EventState]),
        type=st.sampled_from([None, "invoice.paid", "invoice.*", "none", "*"]),
        name=st.sampled_from([None, *NAMES]),
        limit=st.integers(1, 4),
        data=st.data(),
    )
    def read(
        self, state: str | None, type: str | None, name: str | None, limit: int, data: st.DataObject
    ) -> None:
        before = data.draw(st.sampled_from([None, *sorted(self.ids)]))
        wanted = RowFilter(state=state, type=type, external_id=name, limit=limit, before=before)
        self.both(lambda twin: twin.reader.events(wanted), key=without_originals)
        self.both(lambda twin: twin.reader.messages(msgspec.structs.replace(wanted, external_id=None)))
        self.both(lambda twin: twin.reader.due(self.clock.now(), limit))
        self.both(lambda twin: twin.reader.ignored_since(Millis(self.clock.now() - 50), None, limit))
        self.both(lambda twin: twin.reader.counts())


def without_originals(events: list[EventRow]) -> list[EventRow]:
    """Of several earlier requests with the same body a suspect names any one; it keeps the text when it is replayed."""
    suspect = "the same body came within"
    return [
        msgspec.structs.replace(event, last_error=suspect)
        if event.last_error and event.last_error.startswith(suspect)
        else event
        for event in events
    ]


async def inserted(unit: UnitOfWork, name: str) -> int | str:
    """How many rows; a name that is there already fails, and undoes nothing but itself."""
    try:
        return await unit.execute(
            "INSERT INTO effects (name, value) VALUES (:name, :value)", {"name": name, "value": 2**40}
        )
    except Exception:  # noqa: BLE001 - each database has its own error for it
        return "known"


async def effects(twin: AnyDatabase) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    async def look(unit: UnitOfWork) -> None:
        found.extend(await unit.fetch("SELECT name, value FROM effects"))

    await twin.run_setup([look])
    return sorted(found, key=lambda row: str(row["name"]))


def test_the_same_history_has_the_same_answers_and_leaves_the_same_rows(url: str, tmp_path: Path) -> None:
    Twins.url, Twins.folder = url, tmp_path
    some = settings(
        max_examples=15, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Twins, settings=some)
