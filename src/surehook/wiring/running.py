"""``surehook run``: one process, from its signals to its exit code."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Collection
from typing import Final

import uvloop

from surehook import telemetry
from surehook.config import Settings
from surehook.wiring.importing import load_app
from surehook.wiring.node import ROLES, Node
from surehook.wiring.parts import warn
from surehook.wiring.supervision.report import READY, STOPPING, Report, to_systemd
from surehook.wiring.supervision.slot import Slot

logger = logging.getLogger(__name__)

#: How many more containers than now must live before Python looks for garbage in cycles. Nearly all of ours is freed by
#: reference counts; at Python's own 700 each batch of events is looked through several times, for nothing.
_GARBAGE: Final = 10_000
#: After so many searches among the young the older are searched as well, instead of after ten and a hundred: what a
#: connection leaves behind is in cycles, and at 100 events a second it would have waited for hours.
_GENERATIONS: Final = 2


def run(settings: Settings, roles: Collection[str], *, migrate: bool = True, slot: Slot | None = None) -> int:
    """Run the roles until SIGTERM or SIGINT; returns the exit code.

    The first signal drains (``server.drain_timeout``), the second one ends the process at once, which loses nothing that
    was acknowledged. Raises ConfigurationError, SchemaMismatch or Unavailable when it cannot start.

    ``slot`` is what a supervisor has given. Its process leaves the second signal and the warnings to its parent.
    """
    telemetry.configure(settings.log_format, settings.log_level, sys.stderr)
    wanted = [role for role in ROLES if role in roles] or list(ROLES)
    with telemetry.context(**(slot.fields() if slot else {})):
        report = slot.hold(settings.server.drain_timeout) if slot else to_systemd(os.environ)
        registry = load_app(settings)
        if slot is None:
            warn(settings, registry)
        node = Node(settings, registry, wanted, slot.sockets() if slot else {})
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(node, migrate, report, supervised=slot is not None))


def collect_rarely() -> None:
    """What lives since the start lives to the end: the search for garbage in cycles leaves it out, and comes less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE, _GENERATIONS, _GENERATIONS)


async def _serve(node: Node, migrate: bool, report: Report, *, supervised: bool) -> int:
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            if supervised:
                return  # a service manager may signal every process, beside the parent
            logger.warning("stopped at once by a second signal", extra={"event": "node.killed"})
            logging.shutdown()
            os._exit(1)
        text = "draining" if supervised else "draining; a second signal stops at once"
        logger.info(text, extra={"event": "node.draining"})
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    alive = loop.create_task(report.live(), name="surehook-alive")
    await node.start(migrate=migrate)
    collect_rarely()
    report.tell(READY)
    await stop.wait()
    report.tell(STOPPING)
    await node.stop()
    alive.cancel()
    logger.info("stopped", extra={"event": "node.stopped"})
    return 0
