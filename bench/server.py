"""The measured server: the real HTTP stack and the real ingest, with one of three inboxes behind it, or as an ASGI
application alone.

``python -m bench.server VARIANT DATABASE``; prints its port, then serves until it is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import json

import uvloop

from bench.load import SECRET
from surehook.clock import Clock, SystemClock
from surehook.config import ProviderSettings, RejectionSettings, ServerSettings, Settings, is_postgres
from surehook.inbox import Inbox
from surehook.ingest.http import IngestApp
from surehook.ingest.intake import Accepting, Done, Intake
from surehook.ingest.listening import Address
from surehook.ingest.rejections import RejectionLog
from surehook.ingest.server import Server
from surehook.model import Accepted, Arrival
from surehook.packs import build_provider
from surehook.queue.database import DatabaseQueue
from surehook.secrets import Secret
from surehook.states import EventState
from surehook.storage import Storage
from surehook.wiring.database import open_unmigrated
from surehook.wiring.running import collect_rarely

GROUP, BY_ASGI, NOTHING, SINGLE = VARIANTS = (
    "group-commit",
    "group-commit-by-asgi",
    "no-store",
    "commit-each",
)


class NoStore:
    """The floor below: says yes and keeps nothing."""

    def submit(self, arrival: Arrival, done: Done) -> None:
        """Everything is new."""
        done([Accepted(event.id, False, EventState.RECEIVED) for event in arrival.events])


class CommitEach:
    """The floor above: every request has a transaction and a commit of its own, as most applications do it."""

    def __init__(self, storage: Storage, writers: int) -> None:
        self._storage = storage
        self._turn = asyncio.Semaphore(writers)
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, arrival: Arrival, done: Done) -> None:
        """As many at once as the database lets write."""
        task = asyncio.get_running_loop().create_task(self._store(arrival, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _store(self, arrival: Arrival, done: Done) -> None:
        async with self._turn:
            [accepted] = await self._storage.accept([arrival])
        done(accepted)


def inbox(variant: str, storage: Storage, clock: Clock, writers: int) -> Accepting:
    """What stands behind the HTTP stack."""
    if variant == NOTHING:
        return NoStore()
    return CommitEach(storage, writers) if variant == SINGLE else Inbox(storage, DatabaseQueue(), clock)


async def serve(variant: str, url: str) -> None:
    """Listen on a free port until the process is killed."""
    clock = SystemClock()
    database = await open_unmigrated(Settings(database=url))
    await database.migrate(clock)
    # the pool of PostgreSQL's connections is the bound there; SQLite has one writer
    writers = ServerSettings().max_waiting if is_postgres(url) else 1
    await listen(inbox(variant, database.storage, clock, writers), database.storage, clock, variant)


async def listen(behind: Accepting, storage: Storage, clock: Clock, variant: str) -> None:
    """Put the HTTP stack in front of it, until the process is killed."""
    settings = ServerSettings()
    provider = build_provider(
        "stripe",
        ProviderSettings(secrets=("env:STRIPE_SECRET",)),
        lambda reference: Secret(SECRET, reference),
        settings,
    )
    rejections = RejectionLog(storage, RejectionSettings())
    intake = Intake({"stripe": provider}, behind, rejections, clock, settings)
    directly = None if variant == BY_ASGI else intake
    server = Server(IngestApp(intake, settings), Address("127.0.0.1", 0), settings, directly)
    await server.start()
    collect_rarely()
    print(json.dumps({"port": server.port}), flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("database", help="its URL")
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(arguments.variant, arguments.database))


if __name__ == "__main__":
    main()
