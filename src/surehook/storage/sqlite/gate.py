"""Which process may write to the file: a fair hand-off between processes.

SQLite's own lock starves whoever waits for it: the side that commits and begins again at once always wins (docs/adr).
So every writer first passes a *door* and then enters the *room*. Who waits stands in the door, so the one that leaves the
room finds the door shut and must let the waiting one in first. Both are ``flock`` locks, which the kernel releases when
their owner dies.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Gate:
    """One process's way into the room. Not for use by two threads at once."""

    def __init__(self, database: Path) -> None:
        self._door = _open(database, "door")
        self._room = _open(database, "room")

    def try_enter(self) -> bool:
        """Enter if nobody else is inside or waiting; never waits."""
        try:
            fcntl.flock(self._door, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            fcntl.flock(self._room, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            fcntl.flock(self._door, fcntl.LOCK_UN)
        return True

    def wanted(self) -> bool:
        """Whether somebody waits for the room. To be asked by who is inside."""
        try:
            fcntl.flock(self._door, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._door, fcntl.LOCK_UN)
        return False

    def enter(self) -> None:
        """Wait for the turn and enter."""
        fcntl.flock(self._door, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._room, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._door, fcntl.LOCK_UN)

    def leave(self) -> None:
        """Leave the room."""
        fcntl.flock(self._room, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give both files back."""
        os.close(self._door)
        os.close(self._room)


def _open(database: Path, name: str) -> int:
    return os.open(f"{database}-{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
