"""A node: the roles of one process, from start to stop."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal

from surehook.clock import Clock, SystemClock
from surehook.config import Settings
from surehook.config.addresses import base_url
from surehook.handlers import Registry
from surehook.inbox import Inbox
from surehook.ingest.health import Check, HealthApp, Readiness
from surehook.ingest.http import IngestApp
from surehook.ingest.intake import Intake
from surehook.ingest.listening import Address
from surehook.ingest.problems import Receive, Scope, Send
from surehook.ingest.rejections import RejectionLog
from surehook.ingest.server import Server
from surehook.ops.sweep import Sweep
from surehook.outbox import Outbox
from surehook.publish.lane import Timing
from surehook.publish.publisher import Publisher
from surehook.queue import Queue
from surehook.service import Duty, Service
from surehook.storage.migrate import require_current
from surehook.wiring.database import MigratableDatabase, clock_of, database_file, open_unmigrated
from surehook.wiring.parts import build_providers, build_routes, process_name
from surehook.wiring.queues import build_queue
from surehook.wiring.timekeeping import DatabaseClock
from surehook.work.worker import Tools, Worker

logger = logging.getLogger(__name__)

Role = Literal["ingest", "worker", "publisher", "console"]
ROLES: Final[tuple[Role, ...]] = ("ingest", "worker", "publisher", "console")

#: Threads that may hang in handlers before the process says that it is not ready.
HANGING: Final = 100

#: How often it is seen to what the coming days need, in milliseconds.
MAINTENANCE_INTERVAL: Final = 3_600_000


class Node:
    """The roles of one process, from start to stop."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        roles: Collection[Role],
        sockets: Mapping[str, Sequence[socket.socket]] = MappingProxyType({}),
    ) -> None:
        """``sockets``: bound ones for the ports of sections of the settings, from whoever started this process."""
        self._settings = settings
        self._sockets = sockets
        self._registry = registry
        self._roles = frozenset(roles)
        self._providers = build_providers(settings)
        self._database: MigratableDatabase | None = None
        self._queue: Queue | None = None
        self._worker: Worker | None = None
        self._publisher: Publisher | None = None
        self._rejections: RejectionLog | None = None
        self._inbox: Inbox | None = None
        self._servers: list[Server] = []
        self._service = Service([])
        self._readiness = Readiness({})
        self._intake: Intake | None = None
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
        database = self._database = await open_unmigrated(
            self._settings, self._registry.longest_timeout(self._settings.handlers.timeout)
        )
        if migrate:
            await database.migrate(SystemClock())
        require_current(await database.migrations())
        clock = await clock_of(database)
        queue = self._queue = build_queue(self._settings, pooled=database.pooled)
        await queue.start()
        self._readiness = Readiness(self._checks(database))
        duties = self._duties(database, queue, clock)
        if "publisher" in self._roles:
            self._start_publisher(database, queue, clock)
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
            extra={"event": "node.started", **self._addresses()},
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
        for part in (self._intake, self._inbox):
            if part is not None:
                await _all_of([part.drain()])
        for closing in (self._rejections, self._queue, self._database):
            if closing is not None:
                await _all_of([closing.close()])
        self._servers, self._worker, self._publisher, self._database = [], None, None, None
        self._queue = None

    def _duties(self, database: MigratableDatabase, queue: Queue, clock: DatabaseClock) -> list[Duty]:
        async def maintain() -> None:
            await database.maintain(clock.now())

        return [
            Duty("sweep", self._sweep(database, queue, clock).run_once, self._settings.handlers.sweep),
            Duty("maintenance", maintain, MAINTENANCE_INTERVAL),
        ]

    def _sweep(self, database: MigratableDatabase, queue: Queue, clock: DatabaseClock) -> Sweep:
        async def trusted() -> bool:
            await clock.measure(database.reader)
            return clock.settled

        handlers = self._settings.handlers
        return Sweep(
            database.storage,
            database.reader,
            queue,
            clock,
            poison_after=handlers.poison_after,
            interval=handlers.sweep,
            take_back=handlers.take_back,
            handled=self._is_handled if "worker" in self._roles else None,
            keep_rejections=self._settings.rejections.keep,
            trusted=trusted,
        )

    def _is_handled(self, provider: str, topic: str, type: str) -> bool:
        return bool(self._registry.handlers_for(provider, topic, type))

    def _start_publisher(self, database: MigratableDatabase, queue: Queue, clock: Clock) -> None:
        handlers = self._settings.handlers
        self._publisher = Publisher(
            database.storage,
            build_routes(self._settings, clock),
            clock,
            worker=process_name(),
            timing=Timing(handlers.lease, handlers.heartbeat, handlers.poll),
        )
        publisher = self._publisher
        queue.on_messages(lambda names: publisher.wake(names or None))
        self._publisher.start()

    def _start_worker(self, database: MigratableDatabase, queue: Queue, clock: Clock) -> Worker:
        tools = Tools(
            storage=database.storage,
            reader=database.reader,
            queue=queue,
            registry=self._registry,
            outbox=Outbox(self._settings.destinations, clock),
            forwards=self._settings.forward,
            clock=clock,
            settings=self._settings.handlers,
            name=process_name(),
        )
        self._worker = Worker(tools)
        self._worker.start()
        return self._worker

    def _start_ingest(self, database: MigratableDatabase, queue: Queue, clock: Clock) -> None:
        server = self._settings.server
        self._inbox = Inbox(database.storage, queue, clock, waiting=server.max_waiting)
        self._rejections = RejectionLog(database.storage, self._settings.rejections)
        self._rejections.start()
        health = HealthApp(self._readiness)
        self._intake = Intake(self._providers, self._inbox, self._rejections, clock, server)
        self.ingest = IngestApp(self._intake, server, health)

    async def _listen(self) -> None:
        settings = self._settings
        if self.ingest is not None:
            address = Address(settings.server.host, settings.server.port)
            self._servers.append(Server(self.ingest, address, settings.server, self._intake))
        if "console" in self._roles:
            address = Address(settings.console.host, settings.console.port, "console")
            health = HealthApp(self._readiness, details=True)
            self._servers.append(Server(health, address, settings.server))
        for server in self._servers:
            await server.start(self._sockets.get(server.section, ()))

    def _addresses(self) -> dict[str, str]:
        """Where the ports really are; a setting can say 0."""
        names = [role for role in ("ingest", "console") if role in self._roles]
        hosts = {"ingest": self._settings.server.host, "console": self._settings.console.host}
        return {
            name: base_url(hosts[name], server.port)
            for name, server in zip(names, self._servers, strict=False)
        }

    def _checks(self, database: MigratableDatabase) -> Mapping[str, Check]:
        file = database_file(self._settings)

        async def write_path() -> str | None:
            await database.check()
            return None

        async def schema() -> str | None:
            require_current(await database.migrations())
            return None

        async def disk() -> str | None:
            if file is None:
                return None  # a server watches its own
            free = shutil.disk_usage(file.parent).free
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


async def _all_of(endings: Iterable[Awaitable[object]]) -> None:
    """Await every one of them; an error in one is logged and keeps none of the others from its end."""
    for result in await asyncio.gather(*endings, return_exceptions=True):
        if isinstance(result, BaseException):
            logger.error("a part did not stop cleanly", exc_info=result, extra={"event": "node.unclean"})
