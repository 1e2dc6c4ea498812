"""The scaled profile: PostgreSQL, Redis and several processes of Surehook, one of which is killed at its work."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from examples.demo.evidence import Database, open_server
from examples.demo.play import Play
from examples.demo.receiver import SLOWNESS
from examples.demo.show import DATABASE, Line, Show
from examples.demo.stage import DemoError, Stage
from tests.services import PostgresServer, RedisServer, ServiceError
from tests.services.install import NotInstalled, find

#: What is run of each role.
PROCESSES = {"ingest": 2, "worker": 2, "publisher": 1}
#: Where the servers' programs come from.
PACKAGES = {"postgres": "postgresql", "redis-server": "redis-server"}
#: Added to the shop's: what a killed process held is taken back when its lease ends, and the demo need not wait a minute.
HANDLERS = """[handlers]
timeout = "8s"
transaction_budget = "500ms"
lease = "9s"
heartbeat = "2s"
sweep = "1s"
"""
#: The same for what the warehouse has refused meanwhile: it is tried every other second.
RETRIES = "retries = [" + ", ".join(['"2s"'] * 60) + "]"


class ScaledStage(Stage):
    """The same shop over private servers, in as many processes as ``PROCESSES`` says."""

    cast = "2 ingest, 2 worker and 1 publisher processes on PostgreSQL and Redis, and a receiver"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._servers = contextlib.ExitStack()
        self._database = ""
        self._queue = ""
        self._redis: RedisServer
        #: The process ids of what was started, by role.
        self._pids: dict[str, int] = {}

    @property
    def database_name(self) -> str:
        return self._database

    def open_database(self) -> Database:
        return open_server(self._database)

    @property
    def slowness(self) -> Path:
        """While this file exists the carrier answers nobody."""
        return self.folder / SLOWNESS

    def set_up(self) -> None:
        super().set_up()
        self.slowness.touch()

    def configuration(self) -> str:
        text = super().configuration()
        for old, new in (
            (r'^database = "sqlite:.*$', f'database = "{self._database}"\nqueue = "{self._queue}"'),
            (r"^\[handlers\]\n", HANDLERS),
            (r'^retries = \["500ms", .*$', RETRIES),
        ):
            text, count = re.subn(old, new, text, flags=re.MULTILINE)
            if count != 1:
                raise DemoError(f"the shop's surehook.toml does not hold {old} once")
        return text

    async def start(self, say: Callable[[str], None]) -> None:
        if sys.platform != "linux":
            raise DemoError("the scaled profile starts its servers on Linux only: run the embedded one here")
        try:
            await asyncio.to_thread(self._start_servers, say)
        except (NotInstalled, ServiceError, TimeoutError) as error:
            raise DemoError(f"the scaled profile needs PostgreSQL and Redis. {error}") from error
        await super().start(say)

    def _start_servers(self, say: Callable[[str], None]) -> None:
        lacking = [package for program, package in PACKAGES.items() if find(program) is None]
        if lacking:
            say(f"Installing {' and '.join(lacking)} with apt-get ...")
        say("Starting a private PostgreSQL and a private Redis ...")
        postgres = self._servers.enter_context(PostgresServer())
        self._redis = self._servers.enter_context(RedisServer())
        self._database = postgres.url(postgres.create_database("shop"))
        self._queue = self._redis.url()

    async def start_surehook(self) -> None:
        await self.command("migrate", "up")
        for role, count in PROCESSES.items():
            self._pids[role] = await self.run(role, "--role", role, "--processes", str(count), "--no-migrate")
        await self.answers("ingest", f"{self.url}/readyz")
        for role, count in PROCESSES.items():
            await self._ready(role, count)

    async def _ready(self, role: str, count: int) -> None:
        for _ in range(600):
            self.check()
            if self.starts(role) >= count:
                return
            await asyncio.sleep(0.05)
        raise DemoError(f"the {count} processes of {role} are not ready\n{self.log_ends()}")

    def starts(self, role: str) -> int:
        """How often a process of this role has become ready."""
        return self.log(role).count("surehook is ready")

    def workers(self) -> list[psutil.Process]:
        """The worker processes that live."""
        return psutil.Process(self._pids["worker"]).children()

    def waiting(self) -> Counter[psutil.Process]:
        """How many of its handlers wait for the carrier, for each worker process: each has a connection of its own."""
        found: Counter[psutil.Process] = Counter()
        for worker in self.workers():
            with contextlib.suppress(psutil.NoSuchProcess):
                connections = worker.net_connections("tcp")
                found[worker] = sum(
                    each.status == psutil.CONN_ESTABLISHED and each.raddr.port == self.receiver
                    for each in connections
                )
        return found

    def announcements(self) -> int:
        """By how many commands events were announced through Redis."""
        with self._redis.client() as client:
            commands: dict[str, dict[str, int]] = client.info("commandstats")
        return commands.get("cmdstat_rpush", {"calls": 0})["calls"]

    async def stop(self) -> dict[str, int]:
        self.slowness.unlink(missing_ok=True)
        ends = await super().stop()
        await asyncio.to_thread(self._servers.close)
        return ends


class ScaledPlay(Play):
    """The same story, and one process that does not live to its end."""

    def __init__(self, stage: ScaledStage, show: Show) -> None:
        super().__init__(stage, show)
        self._scaled = stage
        #: Handlers that were cut off.
        self._cut_off = 0

    async def _interfere(self) -> None:
        orders, say, stage = self._plan.expected.retried, self._show.say, self._scaled
        say(
            f"The carrier is slow: waiting until nothing moves but the {orders} orders, which wait for it ..."
        )
        await self._until("all orders to wait for the carrier", lambda: self._only_waiting(orders))
        say(f"The workers were told of what is new through Redis, by {self._announcements()} commands.")
        workers = stage.workers()
        [(victim, self._cut_off)] = stage.waiting().most_common(1)
        say(f"Worker process {victim.pid} is in the middle of {self._cut_off} orders: kill -9.")
        victim.kill()
        stage.slowness.unlink()
        wanted = PROCESSES["worker"] + 1
        await self._until("another worker process", lambda: stage.starts("worker") >= wanted)
        [new] = set(stage.workers()) - set(workers)
        say(f"Process {new.pid} has taken its place, and the carrier answers again.")
        say(f"Waiting until the leases of these {self._cut_off} orders end, so that they are run again ...")

    def _announcements(self) -> int:
        """Raises DemoError when Redis was not used: without it all would be as well, only later."""
        count = self._scaled.announcements()
        if not count:
            raise DemoError(f"nothing went through Redis\n{self._scaled.log_ends()}")
        return count

    def _only_waiting(self, orders: int) -> bool:
        return self._database.progress().moving == orders == sum(self._scaled.waiting().values())

    def _interference_lines(self, events: list[dict[str, Any]]) -> list[Line]:
        lost = sum(event["lost_leases"] for event in events)
        return [Line("cut off by kill -9", self._cut_off, {DATABASE: lost})]
