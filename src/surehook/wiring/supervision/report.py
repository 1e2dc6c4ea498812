"""Telling whoever watches this process how it is, in the words of sd_notify(3): systemd, or a supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import Mapping
from typing import Final, Literal

READY: Final = "READY=1"
ALIVE: Final = "WATCHDOG=1"
STOPPING: Final = "STOPPING=1"

#: Seconds that a word to systemd may take to be heard.
_PATIENCE: Final = 1.0


class Report:
    """The words go into a socket; without one they go nowhere."""

    def __init__(self, sock: socket.socket | None = None, every: float | None = None) -> None:
        self._socket = sock
        #: Seconds between two signs of life; None: nobody waits for them.
        self.every = every

    def tell(self, word: Literal["READY=1", "WATCHDOG=1", "STOPPING=1"]) -> None:
        """Say it. Never raises: that nobody listens is no reason to stop."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send(f"{word}\n".encode())

    async def live(self) -> None:
        """Say from this loop, again and again, that it runs."""
        while self.every is not None:
            self.tell(ALIVE)
            await asyncio.sleep(self.every)

    def close(self) -> None:
        """Say nothing any more."""
        if self._socket is not None:
            self._socket.close()


def to_systemd(environ: Mapping[str, str]) -> Report:
    """A report to the service manager that the environment names, if there is one."""
    path = environ.get("NOTIFY_SOCKET")
    if not path:
        return Report()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.settimeout(_PATIENCE)
    with contextlib.suppress(OSError):  # what is said is then lost, and the service manager will tell
        sock.connect("\0" + path[1:] if path.startswith("@") else path)
    return Report(sock, _watchdog(environ))


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Half of the time after which the service manager gives this process up, in seconds."""
    text, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(os.getpid()))
    # as sd_watchdog_enabled(3) reads it: 64 bits, and 0 is no time at all, which would keep the loop busy with telling
    if not re.fullmatch("0*[1-9][0-9]{0,18}", text) or pid != str(os.getpid()):
        return None
    return int(text) / 2_000_000
