"""Workers whose handlers stop where the test wants them to, and ways to pause their processes."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil

from tests.scenario.backends import Backend
from tests.scenario.parts import Part
from tests.scenario.sender import Sender
from tests.scenario.waiting import wait_until
from tests.scenario.webhooks import Webhook

#: A worker runs one event at a time, so that each pause is for one attempt. Its leases outlast what a busy machine makes
#: a process wait that nobody has paused.
SETTINGS: Final[dict[str, Any]] = {
    "app": "holding_application:app",
    "handlers": {
        "concurrency": 1,
        "timeout": "500ms",
        "transaction_budget": "500ms",
        "lease": "3s",
        "heartbeat": "500ms",
    },
    "destinations": {
        "ledger": {"url": "http://127.0.0.1:9/", "secrets": ["env:ACME_SECRET"], "allow_private": True}
    },
}


class Held(msgspec.Struct, frozen=True):
    """An attempt in the middle of its work."""

    external_id: str
    worker: Part

    def noticed(self) -> bool:
        """Whether the worker says that it has lost this lease."""
        lost = self.worker.lines("worker.lease_lost")
        return any(line["external_id"] == self.external_id for line in lost)


class Crew:
    """Ingest processes, workers, and the folder in which their handlers and the test leave files for each other."""

    def __init__(
        self, folder: Path, backend: Backend, *, workers: int, ingests: int = 1, timeout: str = "4s"
    ) -> None:
        """``timeout`` is PostgreSQL's: also how long who stands still in the middle of a transaction keeps its locks."""
        self._settings = SETTINGS | {"postgres": {"timeout": timeout}}
        self._files = folder / "files"
        self._files.mkdir()
        environment = {"HOLDING_FOLDER": str(self._files)}
        self.ingests, self.workers = (
            [Part(folder / f"{role}-{n}", backend, role, environment=environment) for n in range(count)]
            for role, count in (("ingest", ingests), ("worker", workers))
        )
        self.parts = self.ingests + self.workers
        self.database = backend.database

    async def start(self) -> None:
        """Start all of them together."""
        for part in self.parts:
            shutil.copy(Path(__file__).with_name("holding_application.py"), part.folder)
            part.configure(**self._settings)
        await asyncio.gather(*(part.start() for part in self.parts))

    async def stop(self) -> None:
        """All of them end well."""
        assert [await part.stop() for part in self.parts] == [0] * len(self.parts)

    async def kill(self) -> None:
        """End what still runs, by force; pytest shows the logs when the scenario fails."""
        for part in self.parts:
            await part.kill()
            sys.stdout.write(part.logs())

    async def held(self, webhooks: Sequence[Webhook], attempt: int = 1) -> list[Held]:
        """Wait until an attempt at each of them has stopped within its work."""
        files = [self._file(each, attempt, "held") for each in webhooks]
        await wait_until(lambda: all(file.exists() for file in files), "all are held")
        workers = {worker.running.pid: worker for worker in self.workers}
        return [
            Held(each.external_id, workers[int(file.read_text())])
            for each, file in zip(webhooks, files, strict=True)
        ]

    def any_held(self, webhooks: Sequence[Webhook], attempt: int) -> bool:
        """Whether such an attempt at one of them has stopped."""
        return any(self._file(each, attempt, "held").exists() for each in webhooks)

    def let_go(self, webhooks: Sequence[Webhook], attempt: int = 1) -> None:
        """Let them go on, as soon as their processes do."""
        for each in webhooks:
            self._file(each, attempt, "open").touch()

    def in_first_attempt(self, webhooks: Sequence[Webhook]) -> int:
        """How many of them are still leased to those who claimed them first."""
        rows = [self.database.event(each.external_id) for each in webhooks]
        return sum((row["state"], row["lease_token"]) == ("PROCESSING", 1) for row in rows)

    async def processed(self, webhooks: Sequence[Webhook]) -> None:
        """Wait until all of them are."""

        def states() -> set[str]:
            return {self.database.event(each.external_id)["state"] for each in webhooks}

        await wait_until(lambda: states() == {"PROCESSED"}, "all are PROCESSED", pause=0.1)

    def messages(self) -> list[dict[str, Any]]:
        """The data of all messages."""
        bodies = self.database.query("SELECT body FROM outbox_messages")
        return [msgspec.json.decode(body)["data"] for (body,) in bodies]

    def effects(self) -> Counter[tuple[str, int]]:
        """How many rows and messages each attempt has left: by external id and number of the attempt."""
        steps = self.database.query("SELECT external_id, attempt FROM steps")
        return Counter([*steps, *((each["order"], each["attempt"]) for each in self.messages())])

    def _file(self, webhook: Webhook, attempt: int, name: str) -> Path:
        return self._files / f"{webhook.external_id}.{attempt}.{name}"


@asynccontextmanager
async def working(crew: Crew, folder: Path) -> AsyncIterator[Sender]:
    """It runs until the end of the ``with``, and ends well; the sender posts to the first ingest process."""
    try:
        await crew.start()
        async with Sender(crew.ingests[0].url, folder / "journal.jsonl") as sender:
            yield sender
        await crew.stop()
    finally:
        await crew.kill()


async def pause(parts: Sequence[Part]) -> None:
    """SIGSTOP, and wait until they stand still."""
    processes = [psutil.Process(part.running.pid) for part in parts]
    for process in processes:
        process.suspend()
    await wait_until(
        lambda: {process.status() for process in processes} == {psutil.STATUS_STOPPED}, "all stand still"
    )


def resume(parts: Sequence[Part]) -> None:
    """SIGCONT."""
    for part in parts:
        psutil.Process(part.running.pid).resume()
