"""Processes that stand still for longer than their lease: what they do when they go on has no effect, and nobody waits."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from tests.scenario.backends import Backend, on_postgres
from tests.scenario.crew import Crew, Held, pause, resume, working
from tests.scenario.parts import Part
from tests.scenario.sender import Sender
from tests.scenario.waiting import wait_until
from tests.scenario.webhooks import Webhook, order
from tests.services import PostgresServer

PAUSES = 100
#: Where an attempt is when its process stops: the type of its event, and the place.
PLACES = (
    ("holding.loop", "before"),
    ("holding.loop", "between"),
    ("holding.loop", "after"),
    ("holding.thread", "before"),
    ("holding.thread", "between"),
    ("holding.thread", "after"),
    ("holding.own_tools", "between"),
    ("holding.plain", "before"),
    ("holding.plain", "after"),
    ("holding.plain_thread", "after"),
)
#: Statements that wait for a lock, and the ports of who sent them.
BLOCKED = """
SELECT pid, client_port FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE %s
"""


@pytest.fixture
def backend(postgres: PostgresServer) -> Iterator[Backend]:
    """An empty database."""
    with postgres.database() as url:
        yield on_postgres(url)


async def test_a_worker_paused_past_its_lease_writes_nothing_100_times(
    backend: Backend, tmp_path: Path
) -> None:
    """In every second round the others are still at it when the paused ones go on, else they are done."""
    crew = Crew(tmp_path, backend, workers=len(PLACES) + 1)
    pauses = rounds = 0
    async with working(crew, tmp_path) as sender:
        while pauses < PAUSES:
            stops = 1 + rounds % 2
            webhooks = [
                order(f"{rounds}-{number}", type, place=place, stops=stops)
                for number, (type, place) in enumerate(PLACES)
            ]
            await accept(sender, webhooks)
            pauses += await (pause_until_done if stops == 1 else pause_until_begun)(crew, webhooks)
            rounds += 1
            assert rounds <= 2 * PAUSES // len(PLACES), f"only {pauses} attempts were paused in time"

    assert_the_last_attempts_did_it(crew, rounds)
    ends = Counter(line["message"] for worker in crew.workers for line in worker.lines("worker.lease_lost"))
    sys.stdout.write(f"{pauses} pauses in {rounds} rounds; how they ended: {ends}\n")


async def test_a_worker_paused_within_a_heartbeat_keeps_no_event(backend: Backend, tmp_path: Path) -> None:
    """Its transaction has locked the event when it stops: PostgreSQL must end it, or nobody could take the event over."""
    crew = Crew(tmp_path, backend, workers=2)
    webhook = order("0-0", "holding.loop", place="between", stops=1)
    async with working(crew, tmp_path) as sender:
        await accept(sender, [webhook])
        [held] = await crew.held([webhook])
        # for a row's lock it would not wait
        async with locked(backend, "LOCK TABLE inbox_events IN SHARE MODE"):
            await blocked(backend, "UPDATE inbox_events SET lease_until%")
            await pause([held.worker])
        crew.let_go([webhook])
        await crew.processed([webhook])
        resume([held.worker])
        await noticed([held])
    assert crew.effects() == {("0-0", 2): 3}


@pytest.mark.parametrize("ended", [False, True], ids=["goes on", "connection ended"])
async def test_a_worker_paused_within_a_commit_writes_all_or_nothing(
    backend: Backend, tmp_path: Path, ended: bool
) -> None:
    """The event is locked by the completion. Whoever goes first, it or another worker, the other one writes nothing."""
    # PostgreSQL ends the paused workers' transactions long after their leases
    crew = Crew(tmp_path, backend, workers=6, timeout="10s")
    webhooks = [order(f"0-{number}", "holding.loop", place="after", stops=1) for number in range(5)]
    async with working(crew, tmp_path) as sender:
        await accept(sender, webhooks)
        await crew.held(webhooks)
        async with locked(backend, "LOCK TABLE inbox_events IN SHARE MODE"):
            crew.let_go(webhooks)
            # then it would send the messages, with the COMMIT right behind them
            rows = await blocked(backend, "UPDATE inbox_events%SET state = 'PROCESSED'%", count=len(webhooks))
            paused = [part for part in crew.workers if ports_of(part) & {port for _, port in rows}]
            await pause(paused)
        await wait_until(lambda: expired(backend) == len(webhooks), "their leases are over")
        if ended:
            backend_ends(backend, [pid for pid, _ in rows])
            await crew.processed(webhooks)
        resume(paused)
        await crew.processed(webhooks)
    effects = crew.effects()
    assert sorted(id for id, _ in effects) == [each.external_id for each in webhooks]
    assert set(effects.values()) == {3}
    assert not ended or 1 not in {attempt for _, attempt in effects}


async def test_an_ingest_process_paused_within_a_commit_keeps_nobody_from_answering(
    backend: Backend, tmp_path: Path
) -> None:
    """It holds the event's key, uncommitted: a repetition at another process waits for it, and others with that one."""
    crew = Crew(tmp_path, backend, workers=0, ingests=2)
    webhook, others = order("o-1"), [order(f"o-{number}") for number in range(2, 12)]
    async with working(crew, tmp_path) as sender, Sender(crew.ingests[1].url, tmp_path / "other") as other:
        async with locked(backend, "LOCK TABLE inbox_payloads IN SHARE MODE"):
            first = asyncio.create_task(sender.post(webhook))
            await blocked(backend, "%INSERT INTO inbox_payloads%")
            await pause(crew.ingests[:1])
            assert not first.done()
        await asyncio.gather(*(other.deliver(each) for each in [webhook, *others]))
        resume(crew.ingests[:1])
        assert (await first).status in {200, 503}
        await sender.deliver(webhook)
    rows = backend.database.query("SELECT external_id FROM inbox_events")
    assert Counter(rows) == Counter((each.external_id,) for each in [webhook, *others])


async def accept(sender: Sender, webhooks: Sequence[Webhook]) -> None:
    await asyncio.gather(*(sender.deliver(each) for each in webhooks))


async def pause_until_done(crew: Crew, webhooks: Sequence[Webhook]) -> int:
    """Paused until another worker has done everything; returns how many attempts had their leases at the beginning."""
    held = await crew.held(webhooks)
    leased = await pause_held(crew, webhooks, held)
    await crew.processed(webhooks)
    resume([each.worker for each in held])
    await noticed(held)
    return leased


async def pause_until_begun(crew: Crew, webhooks: Sequence[Webhook]) -> int:
    """The same, until another worker is in the middle of it."""
    held = await crew.held(webhooks)
    leased = await pause_held(crew, webhooks, held)
    await wait_until(lambda: crew.in_first_attempt(webhooks) == 0, "all leases have ended")
    await wait_until(lambda: crew.any_held(webhooks, 2), "another worker has begun")
    resume([each.worker for each in held])
    await noticed(held)
    await crew.held(webhooks, 2)
    assert set(crew.effects()) & {(each.external_id, 1) for each in webhooks} == set()
    crew.let_go(webhooks, 2)
    await crew.processed(webhooks)
    return leased


async def pause_held(crew: Crew, webhooks: Sequence[Webhook], held: Sequence[Held]) -> int:
    await pause([each.worker for each in held])
    leased = crew.in_first_attempt(webhooks)
    crew.let_go(webhooks)
    return leased


async def noticed(held: Sequence[Held]) -> None:
    await wait_until(lambda: all(each.noticed() for each in held), "all have noticed that they came too late")


def assert_the_last_attempts_did_it(crew: Crew, rounds: int) -> None:
    """Each event has left behind what one attempt does, which was its last one: mostly the second.

    Where others use the machine too, it may stop a second attempt for longer than its lease as well.
    """
    types = {f"{number}-{place}": type for number in range(rounds) for place, (type, _) in enumerate(PLACES)}
    rows = crew.database.query("SELECT external_id, state, attempts, lost_leases FROM inbox_events")
    attempts = {id: attempts for id, _, attempts, _ in rows}
    assert Counter(rows) == Counter((id, "PROCESSED", attempts[id], attempts[id] - 1) for id in types)
    assert min(attempts.values()) == 2
    assert crew.effects() == {(id, attempts[id]): 1 if "plain" in type else 3 for id, type in types.items()}
    assert len(crew.messages()) == len(types)


@asynccontextmanager
async def locked(backend: Backend, statement: str) -> AsyncIterator[None]:
    """Somebody holds locks inside the ``with``."""
    with closing(psycopg.connect(backend.settings["database"])) as connection:
        connection.execute(statement.encode())
        yield


async def blocked(backend: Backend, query: str, count: int = 1) -> list[tuple[Any, ...]]:
    """Wait until so many statements wait for a lock: the server's processes, and the ports of their clients."""

    def rows() -> list[tuple[Any, ...]]:
        found = look(backend, BLOCKED, query)
        return found if len(found) >= count else []

    return await wait_until(rows, f"{count} x {query}")


def backend_ends(backend: Backend, pids: Sequence[int]) -> None:
    """What PostgreSQL does itself with a transaction that has been idle for a minute."""
    look(backend, "SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s::integer[]) AS pid", list(pids))


def expired(backend: Backend) -> int:
    """How many leases are over and not taken back."""
    sql = "SELECT count(*) FROM inbox_events WHERE lease_until < extract(epoch FROM clock_timestamp()) * 1000 - 500"
    [(count,)] = look(backend, sql)
    return int(count)


def look(backend: Backend, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(backend.settings["database"], autocommit=True) as connection:
        return connection.execute(sql.encode(), parameters).fetchall()


def ports_of(part: Part) -> set[int]:
    """The ports of a process's own connections."""
    connections = psutil.Process(part.running.pid).net_connections("tcp")
    return {each.laddr.port for each in connections if each.laddr}
