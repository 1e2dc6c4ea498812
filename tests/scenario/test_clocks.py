"""Machines whose clocks are hours apart work on one database: every time that counts is the database's."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from surehook.clock import SystemClock
from tests.scenario.backends import Backend, on_postgres
from tests.scenario.checker import check
from tests.scenario.history import read_history
from tests.scenario.parts import Part
from tests.scenario.receiver import SECRET, Receiver
from tests.scenario.scene import destination
from tests.scenario.sender import Sender
from tests.scenario.waiting import wait_until
from tests.scenario.webhooks import EXPECTED, Webhook, invoice, order
from tests.services import PostgresServer, require

HOUR = 3_600_000
#: Milliseconds by which a time that was written down may be wrong, and by which a busy machine may be late.
WRONG, LATE = 1_000, 3_000
LEASE, RETRY = 3_000, 2_000
SETTINGS: dict[str, Any] = {
    "log_level": "DEBUG",
    "handlers": {"lease": f"{LEASE}ms", "retries": [f"{RETRY}ms"] * 6},
}


@functools.cache
def preload() -> str:
    """The library that lies to a program about the time."""
    program = require("faketime", "faketime")
    plain = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    run = subprocess.run(
        [program, "-f", "+1h", "printenv", "LD_PRELOAD"],
        env=plain,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.strip()


def clock(hours: int) -> dict[str, str]:
    """The environment of a machine whose clock is so many hours ahead. What it measures durations by is right."""
    return {
        "LD_PRELOAD": preload(),
        "FAKETIME": f"{hours:+d}h",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # which makes threads wait half a second for each other
        "NO_FAKE_STAT": "1",  # or Python would take its compiled files for old ones
    }


def remove_shared_memory(part: Part) -> None:
    """The library leaves it behind when its process is killed, and refuses to start under the same process id again."""
    for file in Path("/dev/shm").glob(f"*faketime_s*m_{part.running.pid}"):
        file.unlink()


class Site:
    """Where machines are put: a folder, a database and a receiver."""

    def __init__(self, folder: Path, backend: Backend, receiver: Receiver) -> None:
        self._folder = folder
        self.database = backend.database
        self._backend = backend
        self._receiver = receiver

    @asynccontextmanager
    async def machine(self, name: str, hours: int, *roles: str) -> AsyncIterator[Part]:
        """A process on a machine with that clock; killed at the end."""
        environment = {"RECEIVER_SECRET": SECRET, **(clock(hours) if hours else {})}
        part = Part(self._folder / name, self._backend, *roles, environment=environment)
        part.configure(**SETTINGS, destinations={self._receiver.name: destination(self._receiver)})
        try:
            await part.start()
            assert abs(started_at(part) - SystemClock().now() - hours * HOUR) < HOUR / 60, (
                "its clock is right"
            )
            yield part
        finally:
            await part.kill()
            remove_shared_memory(part)
            sys.stdout.write(part.logs())

    def assert_nothing_is_wrong(self, *senders: Sender) -> None:
        journals = [sender.journal for sender in senders]
        assert check(read_history(self.database, journals, [self._receiver.log]), EXPECTED) == []


@pytest.fixture
def backend(postgres: PostgresServer) -> Iterator[Backend]:
    """An empty database."""
    with postgres.database() as url:
        yield on_postgres(url)


@pytest.fixture
async def site(tmp_path: Path, backend: Backend) -> AsyncIterator[Site]:
    async with Receiver("ledger", tmp_path / "ledger.log") as receiver:
        yield Site(tmp_path, backend, receiver)


async def test_workers_an_hour_ahead_and_behind_keep_one_time(site: Site, tmp_path: Path) -> None:
    """Handlers run for longer than their leases, and others fail: nothing is taken from anybody, or tried too soon."""
    async with AsyncExitStack() as stack:
        ingest = await stack.enter_async_context(site.machine("ingest", 0, "ingest"))
        workers = [
            await stack.enter_async_context(site.machine(name, hours, "worker", "publisher"))
            for name, hours in (("ahead", +1), ("behind", -1))
        ]
        sender = await stack.enter_async_context(Sender(ingest.url, tmp_path / "journal.jsonl"))
        began = SystemClock().now()
        held = [order(f"held-{n}", "order.held", hold=("before", "inside")[n % 2]) for n in range(20)]
        await accepted(sender, held)
        await accepted(sender, [order(f"failing-{n}", "order.failing", failures=2) for n in range(10)])
        for number in range(20):
            await accepted(sender, [order(f"paid-{number}")])
        await wait_until(lambda: SystemClock().now() > began + 2 * LEASE, "two leases are over")
        for worker in workers:
            worker.touch("gate")
        await ingest.settled()
        ended = SystemClock().now()
        for worker in workers:
            assert worker.lines("worker.processed"), (
                "one worker did everything, so the test has shown nothing"
            )
            assert worker.lines("worker.lease_lost") == worker.lines("sweep.rescued") == []
            assert await worker.stop() == 0
        site.assert_nothing_is_wrong(sender)

    assert_times(site, began, ended)
    assert_retries(site, [f"failing-{n}" for n in range(10)])


@pytest.mark.parametrize("hours", [+1, -1])
async def test_the_lease_of_a_killed_worker_ends_in_its_time(site: Site, tmp_path: Path, hours: int) -> None:
    """The other worker's clock is wrong by as much, the other way."""
    async with AsyncExitStack() as stack:
        ingest = await stack.enter_async_context(site.machine("ingest", 0, "ingest"))
        first = await stack.enter_async_context(site.machine("first", hours, "worker", "publisher"))
        sender = await stack.enter_async_context(Sender(ingest.url, tmp_path / "journal.jsonl"))
        await accepted(sender, [order("o-1", "order.held", hold="before")])
        await wait_until(lambda: first.notes("held"), "it is within its work")
        other = await stack.enter_async_context(site.machine("other", -hours, "worker", "publisher"))
        seen = SystemClock().now()
        await wait_until(lambda: SystemClock().now() > seen + 2 * LEASE, "two leases are over")
        row = site.database.event("o-1")
        assert (row["attempts"], row["lost_leases"]) == (1, 0)
        assert abs(row["lease_until"] - SystemClock().now()) < LEASE + WRONG

        await first.kill()
        until = site.database.event("o-1")["lease_until"]
        await wait_until(lambda: other.notes("held"), "the other worker has it")
        taken = site.database.event("o-1")["updated_at"]
        assert until < taken < until + LATE
        other.touch("gate")
        await ingest.settled()
        site.assert_nothing_is_wrong(sender)


@pytest.mark.parametrize("hours", [+1, -1])
async def test_a_signed_time_is_judged_by_the_database(site: Site, tmp_path: Path, hours: int) -> None:
    """A webhook of this minute is not stale because the ingest process's machine is an hour off."""
    async with AsyncExitStack() as stack:
        ingest = await stack.enter_async_context(site.machine("ingest", hours, "ingest"))
        sender = await stack.enter_async_context(Sender(ingest.url, tmp_path / "journal.jsonl"))
        await accepted(sender, [invoice("evt_1")])
    assert abs(site.database.event("evt_1")["received_at"] - SystemClock().now()) < WRONG + LATE


async def accepted(sender: Sender, webhooks: Sequence[Webhook]) -> None:
    answers = await sender.post_all(webhooks)
    assert {answer.status for answer in answers} == {200}


def started_at(part: Part) -> int:
    """When it says that it began, by its own clock."""
    [line] = part.lines("node.started")
    return round(datetime.fromisoformat(line["timestamp"]).timestamp() * 1000)


def assert_times(site: Site, began: int, ended: int) -> None:
    """All that is written down has happened between the two, in its order."""
    events = site.database.query("SELECT received_at, finished_at, updated_at, lost_leases FROM inbox_events")
    messages = site.database.query(
        "SELECT created_at, finished_at, updated_at, lost_leases FROM outbox_messages"
    )
    assert len(events) == len(messages) == 50
    for first, last, updated, lost in events + messages:
        assert began - WRONG < first < ended + WRONG
        assert first - WRONG < last <= updated < ended + WRONG
        assert lost == 0


def assert_retries(site: Site, external_ids: Sequence[str]) -> None:
    """Each attempt began when it was due after the one before: in two seconds, give or take a fifth."""
    for external_id in external_ids:
        event = site.database.event(external_id)
        failures = site.database.failures(event["id"])
        # each worker lets it fail twice by its own count; who completes it does so at once
        assert 2 <= len(failures) <= 4
        starts = [*(failure["started_at"] for failure in failures[1:]), event["finished_at"]]
        for failure, start in zip(failures, starts, strict=True):
            assert 0.8 * RETRY - 50 < start - failure["failed_at"] < 1.2 * RETRY + LATE
