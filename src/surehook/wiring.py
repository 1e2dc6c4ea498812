"""The only place that builds adapters and roles from the settings."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec
import uvloop

from surehook import telemetry
from surehook.clock import Clock, SystemClock
from surehook.config import Settings
from surehook.errors import ConfigurationError, SurehookError, did_you_mean
from surehook.handlers import Registry
from surehook.inbox import Inbox
from surehook.ingest.health import Check, HealthApp, Readiness
from surehook.ingest.http import IngestApp
from surehook.ingest.packs import Provider, build_provider
from surehook.ingest.problems import Receive, Scope, Send
from surehook.ingest.rejections import RejectionLog
from surehook.ingest.server import Server
from surehook.ops.sweep import Sweep
from surehook.outbox import Outbox
from surehook.publish.http import HttpTransport
from surehook.publish.lane import Route, Timing
from surehook.publish.publisher import Publisher
from surehook.queue.database import DatabaseQueue
from surehook.retry import RetryPolicy
from surehook.secrets import resolve
from surehook.service import Duty, Service
from surehook.storage import Reader, Storage
from surehook.storage.migrate import AppliedMigration, require_current
from surehook.storage.sqlite import SqliteDatabase, open_sqlite
from surehook.work.worker import Tools, Worker

logger = logging.getLogger(__name__)

Role = Literal["ingest", "worker", "publisher", "console"]
#: How often the database's clock is read to find the reading with the least delay.
_READINGS: Final = 4

ROLES: Final[tuple[Role, ...]] = ("ingest", "worker", "publisher", "console")


class OpenedDatabase(msgspec.Struct, frozen=True):
    """What a command works with."""

    storage: Storage
    reader: Reader
    clock: Clock


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[OpenedDatabase]:
    """The database, for one command.

    Raises SchemaMismatch when its schema is missing, old or newer, Unavailable when it cannot be opened.
    """
    database = await _open(settings)
    try:
        require_current(await database.migrations())
        yield OpenedDatabase(database.storage, database.reader, await _clock_of(database))
    finally:
        await database.close()


async def migration_status(settings: Settings) -> list[AppliedMigration]:
    """Every migration and when it was applied. Raises SchemaMismatch as ``migrate.compare`` says."""
    database = await _open(settings)
    try:
        return await database.migrations()
    finally:
        await database.close()


async def migrate(settings: Settings) -> list[str]:
    """Apply the missing migrations; returns their names."""
    database = await _open(settings)
    try:
        return [f"{each.version:04}_{each.name}" for each in await database.migrate(SystemClock())]
    finally:
        await database.close()


def load_app(settings: Settings) -> Registry:
    """The application that ``app`` names, or an empty one.

    Raises ConfigurationError when it cannot be imported or is no App.
    """
    if settings.app is None:
        return Registry()
    module_name, _, attribute = settings.app.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except SurehookError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"app = {settings.app!r} cannot be imported from {here}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, Registry):
        raise ConfigurationError(f"app = {settings.app!r} is a {type(found).__name__}, not a surehook.App")
    return found


def build_providers(settings: Settings) -> Mapping[str, Provider]:
    """The configured providers. Raises ConfigurationError for what cannot work."""
    return {
        name: build_provider(name, each, resolve, settings.server.max_body)
        for name, each in settings.providers.items()
    }


def build_routes(settings: Settings, clock: Clock) -> list[Route]:
    """The configured destinations with their transports. Raises ConfigurationError for what cannot work."""
    return [
        Route(
            name,
            HttpTransport(name, each, [resolve(secret) for secret in each.secrets], clock),
            RetryPolicy(each.retries),
            each.concurrency,
        )
        for name, each in settings.destinations.items()
    ]


def _process_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


async def _open(settings: Settings) -> SqliteDatabase:
    return await open_sqlite(settings.database, transaction_budget=settings.handlers.transaction_budget)


async def _clock_of(database: SqliteDatabase) -> Clock:
    """This machine's clock, set by the database's: the best of a few readings, as NTP does it (RFC 5905, section 8)."""
    clock = SystemClock()
    readings = []
    for _ in range(_READINGS):
        before = clock.now()
        there = await database.reader.database_time()
        after = clock.now()
        readings.append((after - before, there - (before + after) // 2))
    delay, offset = min(readings)
    # a distance within the delay of the reading is none that was measured
    return SystemClock(offset if abs(offset) > delay else 0)


class Node:
    """The roles of one process, from start to stop."""

    def __init__(self, settings: Settings, registry: Registry, roles: Collection[Role]) -> None:
        self._settings = settings
        self._registry = registry
        self._roles = frozenset(roles)
        self._providers = build_providers(settings)
        self._database: SqliteDatabase | None = None
        self._worker: Worker | None = None
        self._publisher: Publisher | None = None
        self._rejections: RejectionLog | None = None
        self._inbox: Inbox | None = None
        self._servers: list[Server] = []
        self._service = Service([])
        self._readiness = Readiness({})
        self.ingest: IngestApp | None = None

    async def start(self, *, migrate: bool = True, listen: bool = True) -> None:
        """Open the database, start the roles; ``listen`` opens their ports.

        Raises ConfigurationError, SchemaMismatch or Unavailable, with everything closed again.
        """
        try:
            await self._start(migrate, listen)
        except BaseException:
            await self.stop()
            raise

    async def _start(self, migrate: bool, listen: bool) -> None:
        database = self._database = await _open(self._settings)
        if migrate:
            await database.migrate(SystemClock())
        require_current(await database.migrations())
        clock = await _clock_of(database)
        queue = DatabaseQueue()
        self._readiness = Readiness(self._checks(database))
        duties = [Duty("sweep", self._sweep(database, queue, clock).run_once, self._settings.handlers.sweep)]
        if "publisher" in self._roles:
            self._start_publisher(database, clock)
        if "worker" in self._roles:
            await database.run_setup(self._registry.setup_functions)
            worker = self._start_worker(database, queue, clock)
            duties.append(Duty("heartbeat", worker.heartbeat, self._settings.handlers.heartbeat))
        if "ingest" in self._roles:
            self._start_ingest(database, queue, clock)
        self._service = Service(duties)
        self._service.start()
        if listen:
            await self._listen()
        logger.info(
            "surehook is ready: %s",
            ", ".join(role for role in ROLES if role in self._roles),
            extra={"event": "node.started"},
        )

    async def stop(self) -> None:
        """Finish what was begun within the drain timeout, give back the rest, close everything. May be called again."""
        self._readiness.draining = True
        patience = self._settings.server.drain_timeout
        ending: list[Awaitable[object]] = [server.drain(patience) for server in self._servers]
        if self._worker is not None:
            ending.append(self._worker.stop(patience))
        if self._publisher is not None:
            ending.append(self._publisher.stop(patience))
        await _all_of(ending)
        # in this order: each one still needs what follows it
        await self._service.stop()
        for part in (self.ingest, self._inbox):
            if part is not None:
                await _all_of([part.drain()])
        for closing in (self._rejections, self._database):
            if closing is not None:
                await _all_of([closing.close()])
        self._servers, self._worker, self._publisher, self._database = [], None, None, None

    def _sweep(self, database: SqliteDatabase, queue: DatabaseQueue, clock: Clock) -> Sweep:
        handlers = self._settings.handlers
        return Sweep(
            database.storage,
            database.reader,
            queue,
            clock,
            poison_after=handlers.poison_after,
            interval=handlers.sweep,
            take_back=handlers.take_back,
            handled=lambda *event: "worker" in self._roles and bool(self._registry.handlers_for(*event)),
            keep_rejections=self._settings.rejections.keep,
        )

    def _start_publisher(self, database: SqliteDatabase, clock: Clock) -> None:
        handlers = self._settings.handlers
        self._publisher = Publisher(
            database.storage,
            build_routes(self._settings, clock),
            clock,
            worker=_process_name(),
            timing=Timing(handlers.lease, handlers.heartbeat, handlers.poll),
        )
        self._publisher.start()

    def _start_worker(self, database: SqliteDatabase, queue: DatabaseQueue, clock: Clock) -> Worker:
        tools = Tools(
            storage=database.storage,
            reader=database.reader,
            queue=queue,
            registry=self._registry,
            outbox=Outbox(self._settings.destinations, clock),
            forwards=self._settings.forward,
            clock=clock,
            settings=self._settings.handlers,
            name=_process_name(),
            published=self._published,
        )
        self._worker = Worker(tools)
        self._worker.start()
        return self._worker

    def _published(self, destinations: frozenset[str]) -> None:
        if self._publisher is not None:
            self._publisher.wake(destinations)

    def _start_ingest(self, database: SqliteDatabase, queue: DatabaseQueue, clock: Clock) -> None:
        server = self._settings.server
        self._inbox = Inbox(database.storage, queue, clock, waiting=server.max_waiting)
        self._rejections = RejectionLog(database.storage, self._settings.rejections)
        self._rejections.start()
        health = HealthApp(self._readiness)
        self.ingest = IngestApp(self._providers, self._inbox, self._rejections, clock, server, health)

    async def _listen(self) -> None:
        settings = self._settings
        if self.ingest is not None:
            self._servers.append(
                Server(self.ingest, settings.server.host, settings.server.port, settings.server)
            )
        if "console" in self._roles:
            console = settings.console
            health = HealthApp(self._readiness, details=True)
            self._servers.append(
                Server(health, console.host, console.port, settings.server, section="console")
            )
        for server in self._servers:
            await server.start()

    def _checks(self, database: SqliteDatabase) -> Mapping[str, Check]:
        async def write_path() -> str | None:
            await database.check()
            return None

        async def schema() -> str | None:
            require_current(await database.migrations())
            return None

        async def disk() -> str | None:
            free = shutil.disk_usage(database.path.parent).free
            wanted = self._settings.server.min_free_disk
            return (
                None
                if free >= wanted
                else f"{free} bytes are free on the database's disk, {wanted} are needed"
            )

        async def handlers() -> str | None:
            hanging = self._worker.threads.abandoned if self._worker is not None else 0
            return (
                None
                if hanging < HANGING
                else f"{hanging} threads hang in handlers that have timed out: restart"
            )

        return {"write": write_path, "schema": schema, "disk": disk, "handlers": handlers}


async def _all_of(endings: Iterable[Awaitable[object]]) -> None:
    """Await every one of them; an error in one is logged and keeps none of the others from its end."""
    for result in await asyncio.gather(*endings, return_exceptions=True):
        if isinstance(result, BaseException):
            logger.error("a part did not stop cleanly", exc_info=result, extra={"event": "node.unclean"})


#: Threads that may hang in handlers before the process says that it is not ready.
HANGING: Final = 100


class MountedNode:
    """The ASGI face of a node that runs inside a user's own server."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._node.ingest is None:
            raise RuntimeError(
                "surehook was not started: enter running() in the lifespan of the application around it"
            )
        await self._node.ingest(scope, receive, send)


def warn_of_unknown(settings: Settings, registry: Registry) -> None:
    """Log what is probably a slip of the pen: a handler for a provider that is not configured."""
    for handler in registry.handlers:
        if handler.provider != "*" and handler.provider not in settings.providers:
            hint = did_you_mean(handler.provider, settings.providers)
            logger.warning(
                "%s is for the provider %r, which is not configured. %s", handler.name, handler.provider, hint
            )


def run(settings: Settings, roles: Collection[str], *, migrate: bool = True) -> int:
    """Run the roles until SIGTERM or SIGINT; returns the exit code.

    The first signal drains (``server.drain_timeout``), the second one ends the process at once, which loses nothing that
    was acknowledged. Raises ConfigurationError, SchemaMismatch or Unavailable when it cannot start.
    """
    telemetry.configure(settings.log_format, settings.log_level, sys.stderr)
    wanted = [role for role in ROLES if role in roles] or list(ROLES)
    registry = load_app(settings)
    warn_of_unknown(settings, registry)
    node = Node(settings, registry, wanted)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(node, migrate))


async def _serve(node: Node, migrate: bool) -> int:
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            logger.warning("stopped at once by a second signal", extra={"event": "node.killed"})
            logging.shutdown()
            os._exit(1)
        logger.info("draining; a second signal stops at once", extra={"event": "node.draining"})
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    await node.start(migrate=migrate)
    await stop.wait()
    await node.stop()
    logger.info("stopped", extra={"event": "node.stopped"})
    return 0
