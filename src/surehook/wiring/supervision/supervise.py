"""``surehook run --processes N``: whatever can be wrong is found in the parent, once, and then the processes start."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from surehook import telemetry
from surehook.clock import SystemClock
from surehook.config import Settings, is_postgres
from surehook.ingest.listening import Address
from surehook.wiring.database import migrate, open_database
from surehook.wiring.importing import load_app
from surehook.wiring.parts import build_providers, build_routes, warn
from surehook.wiring.supervision.slot import GRACE
from surehook.wiring.supervision.supervisor import Supervisor
from surehook.wiring.urls import database_url

logger = logging.getLogger(__name__)

#: The most processes of one supervisor.
MOST: Final = 64
#: Milliseconds after which a process that does not answer is killed.
STALL: Final = 30_000
SHORTEST_STALL: Final = 2_000


class Plan(msgspec.Struct, frozen=True):
    """What is to be run how often."""

    #: The command of one process, which migrates nothing.
    command: Sequence[str]
    processes: int
    roles: Collection[str]
    migrate: bool = True
    #: Milliseconds.
    stall: int = STALL


def supervise(settings: Settings, plan: Plan) -> int:
    """Run many processes until SIGTERM or SIGINT; returns the exit code.

    The first signal drains, the second one kills them. SIGHUP replaces them one after the other. Raises
    ConfigurationError, SchemaMismatch or Unavailable when they could not start.
    """
    telemetry.configure(settings.log_format, settings.log_level, sys.stderr)
    _check(settings, plan)
    with _bound(settings, plan.roles) as ports:
        asyncio.run(_prepare(settings, plan.migrate))
        for address, sockets in ports.items():
            address.listen(sockets)
        return asyncio.run(_run(settings, plan, {each.section: sockets for each, sockets in ports.items()}))


async def _run(settings: Settings, plan: Plan, sockets: Mapping[str, Sequence[socket.socket]]) -> int:
    patience = settings.server.drain_timeout / 1000 + GRACE
    supervisor = Supervisor(plan.command, plan.processes, sockets, stall=plan.stall / 1000, patience=patience)
    return await supervisor.run()


def _check(settings: Settings, plan: Plan) -> None:
    """Build what the processes will build. Raises ConfigurationError for what cannot work."""
    warn(settings, load_app(settings))
    build_providers(settings)
    if "publisher" in plan.roles:
        build_routes(settings, SystemClock())
    if not is_postgres(database_url(settings)):
        text = "%d processes share a SQLite database: one of them writes at a time, so they are hardly faster than one"
        logger.warning(text, plan.processes, extra={"event": "supervisor.sqlite"})


async def _prepare(settings: Settings, migrating: bool) -> None:
    if migrating:
        await migrate(settings)
    async with open_database(settings):
        pass  # its schema is current


@contextlib.contextmanager
def _bound(settings: Settings, roles: Collection[str]) -> Iterator[Mapping[Address, list[socket.socket]]]:
    """The sockets of every port that the roles have, bound; closed at the end."""
    wanted = {
        "ingest": Address(settings.server.host, settings.server.port, "server"),
        "console": Address(settings.console.host, settings.console.port, "console"),
    }
    ports = {}
    with contextlib.ExitStack() as stack:
        for role, address in wanted.items():
            if role in roles:
                ports[address] = address.bind()
                for each in ports[address]:
                    stack.enter_context(each)
        yield ports
