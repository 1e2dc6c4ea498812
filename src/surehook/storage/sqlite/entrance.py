"""The way through the gate for the loop: it waits there in a thread, and goes away when it has waited long enough."""

from __future__ import annotations

import asyncio
from pathlib import Path

from surehook.errors import Unavailable
from surehook.storage.sqlite.gate import Gate
from surehook.storage.sqlite.thread import WaitingThread

#: How long another process may keep us out before everyone who waits is told so, in seconds.
PATIENCE = 5.0


class Entrance:
    """This process's place at the gate. The kernel cannot be told that nobody wants to enter any more."""

    def __init__(self, gate: Gate, thread: WaitingThread, path: Path) -> None:
        self._gate = gate
        self._thread = thread
        self._path = path
        #: Stands in the door.
        self._entering: asyncio.Task[None] | None = None
        #: Somebody here still wants to enter.
        self._wanted = False
        self._closed = False

    @property
    def waiting(self) -> bool:
        """Whether the kernel still has us waiting."""
        return self._entering is not None

    async def enter(self) -> None:
        """Wait for the room. Raises Unavailable when another process has kept it for PATIENCE."""
        if self._entering is None:
            if self._gate.try_enter():
                return
            self._entering = asyncio.create_task(self._thread.run(self._wait))
            self._entering.add_done_callback(self._leave_if_late)
        self._wanted = True
        try:
            done, _ = await asyncio.wait([self._entering], timeout=PATIENCE)
        finally:
            self._wanted = False
        if not done:
            raise Unavailable(
                f"another process has kept {self._path}-room for {PATIENCE:.0f} s: is it stopped (SIGSTOP, a debugger)? "
                "End it, or let it go on"
            )
        self._entering = None
        await asyncio.gather(*done)

    def leave(self) -> None:
        """Give the room back."""
        self._gate.leave()

    def others_wait(self) -> bool:
        """Whether another process waits for the room that we are in."""
        return self._gate.wanted()

    def close(self) -> None:
        """Nobody will enter from here."""
        self._closed = True
        if self._entering is None:  # else the kernel still waits with these files
            self._gate.close()

    def _wait(self) -> None:
        self._gate.enter()
        if self._closed:  # while we stood in the door: nobody is left to leave
            self._gate.leave()

    def _leave_if_late(self, entered: asyncio.Task[None]) -> None:
        """The room was given to us when nobody here wanted it any more: others do."""
        if self._entering is entered and not self._wanted:
            self._entering = None
            self._gate.leave()
