"""``surehook run``: one process, from its signals to its exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Collection

import uvloop

from surehook import telemetry
from surehook.config import Settings
from surehook.wiring.importing import load_app
from surehook.wiring.node import ROLES, Node
from surehook.wiring.parts import warn

logger = logging.getLogger(__name__)


def run(settings: Settings, roles: Collection[str], *, migrate: bool = True) -> int:
    """Run the roles until SIGTERM or SIGINT; returns the exit code.

    The first signal drains (``server.drain_timeout``), the second one ends the process at once, which loses nothing that
    was acknowledged. Raises ConfigurationError, SchemaMismatch or Unavailable when it cannot start.
    """
    telemetry.configure(settings.log_format, settings.log_level, sys.stderr)
    wanted = [role for role in ROLES if role in roles] or list(ROLES)
    registry = load_app(settings)
    warn(settings, registry)
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
