"""One installation of Surehook in a folder of its own, run as a real process."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from tests.scenario.backends import Backend
from tests.scenario.databases import Database, SqliteDatabase
from tests.scenario.waiting import wait_until
from tests.scenario.webhooks import PROVIDERS, SECRETS
from tests.services import free_port

#: Durations that let a scenario pass in seconds; each is far below the default of DESIGN section 8.
FAST: dict[str, Any] = {
    "app": "application:app",
    "database": "sqlite:///surehook.db",
    "log_format": "json",
    "handlers": {
        "retries": ["100ms", "100ms", "100ms"],
        "timeout": "2s",
        "transaction_budget": "800ms",
        "lease": "3s",
        "heartbeat": "500ms",
        "sweep": "200ms",
        "poll": "200ms",
    },
    "providers": PROVIDERS,
}

#: For scenarios that wait for the end of a lease.
SHORT_LEASE = {"timeout": "500ms", "transaction_budget": "500ms", "lease": "1200ms", "heartbeat": "300ms"}


class Finished(msgspec.Struct, frozen=True):
    """A command that has run to its end."""

    code: int
    out: str
    err: str


class Note(msgspec.Struct, frozen=True):
    """A line that a handler wrote beside its transaction."""

    at: int
    external_id: str


class Installation:
    """A configuration, an application and a database in a folder, and the process that runs them."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.port, console = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        self.database: Database = SqliteDatabase(folder / "surehook.db")
        self.process: Process | None = None
        self._environment = {**os.environ, **SECRETS, **environment}
        self._settings: dict[str, Any] = FAST
        self.configure(server={"port": self.port}, console={"port": console})
        shutil.copy(Path(__file__).with_name("application.py"), folder)

    def configure(self, **changes: Any) -> None:
        """Change some settings and write the file; tables are merged."""
        self._settings = merged(self._settings, changes)
        (self.folder / "surehook.toml").write_text(toml(self._settings))

    def use(self, backend: Backend) -> None:
        """Stand on this database and queue, instead of a SQLite file in its own folder."""
        self.database = backend.database
        self.configure(**backend.settings)

    async def start(self, *, until_ready: bool = True) -> None:
        """Run it, and wait until it can do its work."""
        self.process = await self.run()
        if until_ready:
            await wait_until(self.ready, "/readyz answers 200")

    async def run(self, *arguments: str, log: str = "run") -> Process:
        """``surehook run`` with these arguments, in a process whose output goes into files of this name."""
        with (self.folder / f"{log}.out").open("ab") as out, (self.folder / f"{log}.err").open("ab") as err:
            return await self._spawn("run", *arguments, stdout=out, stderr=err)

    async def ready(self) -> bool:
        """Whether ``/readyz`` says yes. Raises AssertionError when the process has ended."""
        assert self.running.returncode is None, f"it ended with code {self.running.returncode}: {self.logs()}"
        return await self.status("/readyz") == 200

    async def status(self, path: str) -> int | None:
        """The status of a GET, or None when nobody answers."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
                session.get(self.url + path) as answer,
            ):
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return None

    @property
    def running(self) -> Process:
        """The process that was started last."""
        assert self.process is not None, "it was never started"
        return self.process

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and all of its children."""
        os.killpg(self.running.pid, number)

    async def kill(self) -> None:
        """``kill -9``."""
        if self.process is not None and self.process.returncode is None:
            self.signal(signal.SIGKILL)
            await self.ended()

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self, *, within: float = 30.0) -> int:
        """Wait for the end of the process; returns its exit code."""
        async with asyncio.timeout(within):
            return await self.running.wait()

    async def command(self, *arguments: str) -> Finished:
        """Run another command of Surehook on this installation."""
        process = await self._spawn(
            *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(30):
            out, err = await process.communicate()
        return Finished(await process.wait(), out.decode(), err.decode())

    async def settled(self, *, within: float = 30.0) -> None:
        """Wait until every event and message has come to rest."""
        await wait_until(lambda: self.database.unfinished() == 0, "all is finished", within=within, pause=0.1)

    async def in_state(self, external_id: str, state: str, *, within: float = 20.0) -> dict[str, Any]:
        """Wait until an event is in a state; returns its row."""

        def row() -> dict[str, Any]:
            found = self.database.event(external_id)
            return found if found.get("state") == state else {}

        return await wait_until(row, f"{external_id} is {state}", within=within)

    def notes(self, name: str) -> list[Note]:
        """What handlers noted under a name."""
        path = self.folder / f"{name}.notes"
        lines = path.read_text().splitlines() if path.exists() else []
        return [Note(int(at), external_id) for at, external_id in map(str.split, lines)]

    def touch(self, name: str) -> None:
        """Make the file that handlers wait or look for."""
        (self.folder / name).touch()

    def logs(self) -> str:
        """The end of what all its processes have written."""
        texts = [path.read_text(errors="replace")[-8_000:] for path in sorted(self.folder.glob("run.*"))]
        return "\n".join(texts)

    async def _spawn(self, *arguments: str, stdout: Any, stderr: Any) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "surehook", "--config", "surehook.toml", *arguments),
            cwd=self.folder,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, and that no other test takes."""
    return [free_port() for _ in range(count)]


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """``old`` with the values of ``new``, table by table."""
    both = {
        name: merged(old[name], value) if isinstance(old.get(name), Mapping) else value
        for name, value in new.items()
    }
    return {**old, **both}


def toml(table: Mapping[str, Any], *path: str) -> str:
    """A table as TOML, of which JSON's strings, numbers, booleans and arrays are a part."""
    values = [
        f"{name} = {json.dumps(value)}" for name, value in table.items() if not isinstance(value, Mapping)
    ]
    tables = [toml(value, *path, name) for name, value in table.items() if isinstance(value, Mapping)]
    return "\n".join([*([f"[{'.'.join(path)}]"] if path else []), *values, *tables])
