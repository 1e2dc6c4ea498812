"""The parent of many processes: its signals, its watch, its exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from surehook.wiring.supervision.child import Child
from surehook.wiring.supervision.keeper import Keeper
from surehook.wiring.supervision.report import READY, STOPPING, to_systemd

logger = logging.getLogger(__name__)

#: Seconds between two looks at the processes.
LOOK: Final = 1.0


class Supervisor:
    """Starts ``count`` processes of one command and keeps that number until a signal comes.

    ``sockets`` are the listening sockets that all of them inherit. ``stall`` and ``patience`` are seconds: how long a
    process may be silent, and how long its end may take.
    """

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        sockets: Mapping[str, Sequence[socket.socket]],
        *,
        stall: float,
        patience: float,
    ) -> None:
        self._command = command
        self._sockets = sockets
        self._stall = stall
        self._patience = patience
        self._stopping = asyncio.Event()
        self._replacing = asyncio.Event()
        self._report = to_systemd(os.environ)
        self._children: set[Child] = set()
        self._keepers = [Keeper(number, self._start, self._fail, self._stopping) for number in range(count)]
        self._all_ready = False
        self._code = 0

    async def run(self) -> int:
        """Run until a signal comes, or until a process says that its configuration cannot work; returns the exit code."""
        self._listen_to_signals()
        duties = [self._watch(), self._replace(), self._report.live()]
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(duty) for duty in duties]
            for keeper in self._keepers:
                group.create_task(keeper.run())
            await self._stopping.wait()
            running[1].cancel()
            await self._end()
            for duty in running:
                duty.cancel()
        return self._code

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        if (
            not sys.stderr.isatty()
        ):  # a terminal that is closed sends it too, and then nobody would stop this process
            loop.add_signal_handler(signal.SIGHUP, self._replacing.set)

    def _start(self, number: int) -> Child:
        ports = {section: [each.fileno() for each in sockets] for section, sockets in self._sockets.items()}
        child = Child(self._command, number, ports, self._look_for_readiness)
        self._children.add(child)
        return child

    def _look_for_readiness(self) -> None:
        if not self._all_ready and all(keeper.is_ready for keeper in self._keepers):
            self._all_ready = True
            self._report.tell(READY)
            text = "all %d processes are ready"
            logger.info(text, len(self._keepers), extra={"event": "supervisor.ready"})

    def _reap(self) -> None:
        for child in list(self._children):
            child.reap()
            if child.ended.is_set():
                self._children.discard(child)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            self._reap()
            for child in self._children:
                child.look(self._stall)

    async def _replace(self) -> None:
        """Replace one process after the other whenever a SIGHUP came."""
        while True:
            await self._replacing.wait()
            self._replacing.clear()
            done = 0
            for keeper in self._keepers:
                if not await keeper.replace(self._patience):
                    break
                done += 1
            self._tell_replaced(done)

    def _tell_replaced(self, done: int) -> None:
        count = len(self._keepers)
        if done == count:
            logger.info("all %d processes are replaced", count, extra={"event": "supervisor.replaced"})
        else:
            text = "a new process did not become ready: the %d that are not replaced yet go on as they are"
            logger.error(text, count - done, extra={"event": "supervisor.not_replaced"})

    def _stop(self) -> None:
        if self._stopping.is_set():
            logger.warning("stopped at once by a second signal", extra={"event": "supervisor.killed"})
            for child in self._children:
                child.kill()
            return
        text = "draining %d processes; a second signal stops at once"
        logger.info(text, len(self._children), extra={"event": "supervisor.draining"})
        self._stopping.set()

    def _fail(self, code: int) -> None:
        text = "a process says that it cannot start as it is configured: stopping"
        logger.error(text, extra={"event": "supervisor.refused"})
        self._code = code
        self._stopping.set()

    async def _end(self) -> None:
        """Ask all processes to drain, and wait for them."""
        self._report.tell(STOPPING)
        for sockets in self._sockets.values():
            for each in sockets:
                each.close()  # or connections would be taken that nobody accepts
        clean = await asyncio.gather(*(child.end(self._patience) for child in self._children))
        self._code = self._code or (0 if all(clean) else 1)
        logger.info("stopped", extra={"event": "supervisor.stopped"})
