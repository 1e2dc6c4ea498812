"""One process under the supervisor, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from surehook.wiring.supervision.report import READY
from surehook.wiring.supervision.slot import Slot

logger = logging.getLogger(__name__)

#: Seconds for the imports of a process: until its loop runs nothing is heard from it.
START: Final = 120.0
#: What is the supervisor's own in the environment.
_NOT_INHERITED: Final = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})


class Child:
    """A process in a session of its own, so that Ctrl-C reaches it only through its parent."""

    def __init__(
        self,
        command: Sequence[str],
        number: int,
        ports: Mapping[str, Sequence[int]],
        changed: Callable[[], None],
    ) -> None:
        """Start it; ``changed`` is called when it has become ready. Raises OSError when the system cannot start any."""
        self._loop = asyncio.get_running_loop()
        self._leash, theirs = socket.socketpair()
        self._leash.setblocking(False)
        slot = Slot(number, theirs.fileno(), ports)
        kept = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
        with theirs, contextlib.ExitStack() as unwind:
            unwind.callback(self._leash.close)
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                command,
                stdin=subprocess.DEVNULL,
                env={**kept, **slot.environment()},
                pass_fds=slot.descriptors(),
                start_new_session=True,
            )
            unwind.pop_all()
        self._slot = number
        self._changed = changed
        self._heard = False
        #: Looks since the last word from it.
        self._silent = 0
        self._since = self._loop.time()
        self._stalled = False
        #: Whether it has ever been ready.
        self.was_ready = False
        #: Set when it is ready, and when it has ended.
        self.settled = asyncio.Event()
        self.ended = asyncio.Event()
        self._loop.add_reader(self._leash, self._listen)

    @property
    def fields(self) -> dict[str, int]:
        """What log lines about it carry."""
        return {"slot": self._slot, "pid": self._process.pid}

    @property
    def is_ready(self) -> bool:
        """Whether it does its work."""
        return self.was_ready and not self.ended.is_set()

    @property
    def code(self) -> int | None:
        """How it ended: its exit code, or the negative number of a signal."""
        return self._process.returncode

    @property
    def age(self) -> float:
        """Seconds since its start."""
        return self._loop.time() - self._since

    @property
    def reason(self) -> str:
        """How it ended, in words."""
        if self._stalled:
            return "it was stalled and killed"
        if self.code is not None and self.code < 0:
            return f"killed by {signal.Signals(-self.code).name}"
        return f"exit code {self.code}"

    def reap(self) -> None:
        """See whether it has ended."""
        if not self.ended.is_set() and self._process.poll() is not None:
            self._loop.remove_reader(self._leash)
            self._leash.close()
            self.settled.set()
            self.ended.set()

    def look(self, stall: float) -> None:
        """Kill it when it was silent at so many looks, one a second.

        Looks are counted, and not seconds, so that a pause of the supervisor itself is not blamed on its processes.
        """
        if self.ended.is_set():
            return
        self._silent += 1
        self._listen()
        if self._silent > (stall if self._heard else max(stall, START)):
            text = "process %d has not answered for %d s: its loop is blocked or it is stopped. It is killed"
            logger.error(text, self._slot, self._silent, extra={"event": "supervisor.stalled", **self.fields})
            self._stalled = True
            self.kill()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    async def end(self, patience: float) -> bool:
        """SIGTERM, and SIGKILL after so many seconds; whether it ended by itself."""
        self._process.terminate()
        try:
            async with asyncio.timeout(patience):
                await self.ended.wait()
        except TimeoutError:
            text = "process %d has not ended within %d s and is killed"
            logger.error(text, self._slot, patience, extra={"event": "supervisor.killed", **self.fields})
            self.kill()
            await self.ended.wait()
        return self.code in (0, -signal.SIGTERM)

    def _listen(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            words = self._leash.recv(65536)
            if not words:  # it closed its end: its end is near
                self._loop.remove_reader(self._leash)
                return
            self._silent, self._heard = 0, True
            if READY.encode() in words and not self.was_ready:
                self.was_ready = True
                self.settled.set()
                self._changed()
