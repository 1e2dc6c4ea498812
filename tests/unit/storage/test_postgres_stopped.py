"""A process that stands still keeps no locks: wherever it is stopped, a timeout of the server is counting."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import psycopg

from tests.scenario.waiting import wait_until
from tests.unit.storage import busy

STOPS = 100
#: In which state a session is that keeps others from something.
LOCKING = """
SELECT state FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND EXISTS (
    SELECT 1 FROM pg_locks WHERE pg_locks.pid = pg_stat_activity.pid AND mode IN ('RowShareLock', 'RowExclusiveLock'))
"""


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def start(url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", busy.__name__, url])


async def test_wherever_a_process_is_stopped_the_server_counts_the_time(server_url: str) -> None:
    """Between two statements that are sent together it would not: it would wait for the rest of them, however long."""
    chance = random.Random(5)
    locking = 0
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE mine (n integer)")
        connection.execute("INSERT INTO mine VALUES (1)")

        def states() -> list[str]:
            return [state for (state,) in connection.execute(LOCKING).fetchall()]

        def at_work() -> bool:
            return len(connection.execute("SELECT 1 FROM inbox_events LIMIT 600").fetchall()) == 600

        with start(server_url) as child:
            process = psutil.Process(child.pid)
            try:
                await wait_until(at_work, "it is at work")
                for _ in range(STOPS):
                    await asyncio.sleep(chance.uniform(0.005, 0.03))
                    with stopped(process):
                        await wait_until(
                            lambda: "active" not in states(), "what it has locked counts as idle", within=5.0
                        )
                        locking += len(states())
            finally:
                child.kill()
    assert locking > STOPS / 10, "it was hardly ever stopped in a transaction"
