"""Random histories over a real database: whatever workers, crashes and operators do, each event has its effect once.

Hypothesis chooses the steps, time moves by hand, and three imagined workers hold claims that they complete late, twice or
never. A model kept beside says what must be in the database; after every step, it is compared.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from surehook.clock import ManualClock, Millis
from surehook.errors import LeaseLost
from surehook.ids import EventId
from surehook.model import Claim, RowFilter
from surehook.states import EventState
from surehook.storage import UnitOfWork
from surehook.storage.sqlite import SqliteDatabase, open_sqlite
from tests.builders import action, arrival, failure, message, settlement

LEASE = 1_000
POISON_AFTER = 4


class Inbox(RuleBasedStateMachine):
    """The storage seam under random use."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.held: list[Claim] = []
        self.ids: dict[str, EventId] = {}
        #: How often each event was replayed, and its effects by (event, replays).
        self.replays: dict[EventId, int] = {}
        self.effects: set[tuple[EventId, int]] = set()
        #: The highest lease token issued for each event: only its holder may end the attempt.
        self.newest: dict[EventId, int] = {}
        self.database: SqliteDatabase = self.run(self.open())

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    async def open(self) -> SqliteDatabase:
        database = await open_sqlite(f"sqlite:///{Path(self.folder.name)}/s.db?synchronous=OFF")
        await database.migrate(self.clock)

        async def setup(unit: UnitOfWork) -> None:
            await unit.execute("CREATE TABLE effects (event BLOB, replays INTEGER)")

        await database.run_setup([setup])
        return database

    def teardown(self) -> None:
        self.run(self.database.close())
        self.runner.close()
        self.folder.cleanup()

    @rule(names=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5))
    def accept(self, names: list[str]) -> None:
        """Some of them new, some known, some twice in one batch."""
        arrivals = []
        for name in names:
            self.clock.advance(1)  # ids sort by time, so that a history repeats exactly
            arrivals.append(arrival(name, name.encode(), now=self.clock.now()))
        for name, [accepted] in zip(names, self.run(self.database.storage.accept(arrivals)), strict=True):
            assert accepted.duplicate == (name in self.ids)
            assert self.ids.setdefault(name, accepted.id) == accepted.id
            self.replays.setdefault(accepted.id, 0)

    @rule(limit=st.integers(1, 3))
    def claim(self, limit: int) -> None:
        now = self.clock.now()
        claims = self.run(self.database.storage.claim(limit, now, Millis(now + LEASE)))
        tokens = {(claim.id, claim.token) for claim in self.held}
        assert not any((claim.id, claim.token) in tokens for claim in claims), "a token was issued twice"
        self.held += claims
        self.newest.update({claim.id: claim.token for claim in claims})

    @precondition(lambda self: self.held)
    @rule(data=st.data(), publish=st.booleans())
    def complete(self, data: st.DataObject, publish: bool) -> None:
        """With an effect; maybe long after the lease was lost, maybe a second time."""
        claim = data.draw(st.sampled_from(self.held))
        replays = self.replays[claim.id]

        async def work() -> bool:
            unit = self.database.storage.begin(claim)
            await unit.execute("INSERT INTO effects VALUES (?, ?)", (claim.id, replays))
            messages = (message(now=self.clock.now()),) if publish else ()
            try:
                await unit.complete(settlement(claim, now=self.clock.now(), messages=messages))
            except LeaseLost:
                return False
            return True

        if self.run(work()):
            assert claim.token == self.newest[claim.id], (
                "a worker that had lost its lease completed the event"
            )
            assert (claim.id, replays) not in self.effects, "an effect was applied twice"
            self.effects.add((claim.id, replays))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), state=st.sampled_from([EventState.RETRYING, EventState.DEAD, EventState.RECEIVED]))
    def settle(self, data: st.DataObject, state: EventState) -> None:
        claim = data.draw(st.sampled_from(self.held))
        due = Millis(self.clock.now() + 50) if state is EventState.RETRYING else None
        end = settlement(claim, state, now=self.clock.now(), due_at=due, failure=failure())
        [settled] = self.run(self.database.storage.settle([end]))
        assert not settled or claim.token == self.newest[claim.id], "a worker that had lost its lease wrote"

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        """The handler ran, its process died before the commit."""
        claim = data.draw(st.sampled_from(self.held))

        async def work() -> None:
            unit = self.database.storage.begin(claim)
            await unit.execute("INSERT INTO effects VALUES (?, -1)", (claim.id,))
            await unit.rollback()

        self.run(work())

    @rule(milliseconds=st.sampled_from([1, 60, LEASE // 2, LEASE + 1]))
    def wait(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds)

    @rule()
    def rescue(self) -> None:
        self.run(self.database.storage.rescue(self.clock.now(), poison_after=POISON_AFTER))

    @precondition(lambda self: self.ids)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        id = self.ids[data.draw(st.sampled_from(sorted(self.ids)))]
        [result] = self.run(self.database.storage.replay_events([id], action(self.clock.now())))
        self.replays[id] += result.done and result.was != EventState.RETRYING

    @precondition(lambda self: self.ids)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        id = self.ids[data.draw(st.sampled_from(sorted(self.ids)))]
        self.run(self.database.storage.discard_events([id], action(self.clock.now())))

    @invariant()
    def the_database_agrees_with_the_model(self) -> None:
        rows = {row.id: row for row in self.run(self.database.reader.events(RowFilter(limit=1000)))}
        assert rows.keys() == set(self.ids.values())
        effects: list[tuple[EventId, int]] = []

        async def read(unit: UnitOfWork) -> None:
            effects.extend((r["event"], r["replays"]) for r in await unit.fetch("SELECT * FROM effects"))

        self.run(self.database.run_setup([read]))
        assert len(effects) == len(set(effects)), "an effect stands twice"
        assert set(effects) == self.effects
        for id, row in rows.items():
            assert row.replays == self.replays[id]
            assert (row.state is EventState.PROCESSED) == ((id, row.replays) in self.effects)
            assert row.lost_leases <= POISON_AFTER


def test_random_histories_keep_every_promise() -> None:
    """Forty histories of forty steps."""
    some = settings(
        max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Inbox, settings=some)
