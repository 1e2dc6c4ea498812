"""Ports that no other test process takes, not even while the server that they belong to is down."""

from __future__ import annotations

import fcntl
import functools
import os
import random
import socket
import tempfile
from pathlib import Path

#: Below the range that the kernel takes the ports of outgoing connections from: while a server is down, a client's
#: own connection could otherwise sit on its port, or even connect to itself.
FIRST, LAST = 20_000, 31_999

_mine: set[int] = set()


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on, kept for this process until it ends."""
    while True:
        port = random.randint(FIRST, LAST)
        if port not in _mine and _is_free(port) and _lock(port):
            _mine.add(port)
            return port


def _is_free(port: int) -> bool:
    """Asked by binding: connecting would hang on a listener that has stopped."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _lock(port: int) -> bool:
    """Lock the byte of one file that stands for the port; the kernel unlocks it when this process ends."""
    try:
        fcntl.lockf(_locks(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):
        return False
    return True


@functools.cache
def _locks() -> int:
    """Opened once and never closed: closing any descriptor of a file gives up the process's locks on it."""
    path = Path(tempfile.gettempdir(), f"surehook-ports-{os.geteuid()}.lock")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
