"""A process under a supervisor: what it was given at its start, and what ties it to its parent."""

from __future__ import annotations

import faulthandler
import logging
import os
import select
import signal
import socket
import threading
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Final

import msgspec

from surehook.errors import ConfigurationError
from surehook.wiring.supervision.report import Report

logger = logging.getLogger(__name__)

#: Not ``SUREHOOK_...``: it is no setting, and nobody is to set it.
VARIABLE: Final = "_SUREHOOK_SLOT"
#: Seconds between two signs of life.
PULSE: Final = 1.0
#: Seconds that a process has beyond its drain timeout before it is killed.
GRACE: Final = 10.0


class Slot(msgspec.Struct, frozen=True):
    """Which one of the processes this is, with the file descriptors that it inherits."""

    number: int
    #: The process's end of the pair of sockets.
    leash: int
    #: The listening sockets of each section of the settings.
    ports: Mapping[str, Sequence[int]]

    def environment(self) -> dict[str, str]:
        """What tells the process."""
        return {VARIABLE: msgspec.json.encode(self).decode()}

    def descriptors(self) -> list[int]:
        """All that the process must inherit."""
        return [self.leash, *(each for ports in self.ports.values() for each in ports)]

    def sockets(self) -> dict[str, list[socket.socket]]:
        """The listening sockets. Call it once, in the process itself."""
        return {
            section: [socket.socket(fileno=each) for each in ports] for section, ports in self.ports.items()
        }

    def fields(self) -> dict[str, int]:
        """What every line of the process's log carries."""
        return {"slot": self.number, "pid": os.getpid()}

    def hold(self, drain_timeout: int) -> Report:
        """Report to the parent from now on, and follow it: its end is a SIGTERM, and an end by force when that does not do.

        ``drain_timeout`` in milliseconds.
        """
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it is for the parent, whoever else gets it
        leash = socket.socket(fileno=self.leash)
        leash.setblocking(False)
        patience = drain_timeout / 1000 + GRACE
        threading.Thread(
            target=_follow, args=(self.leash, patience), name="surehook-leash", daemon=True
        ).start()
        return Report(leash, PULSE)


def take_slot(environ: MutableMapping[str, str]) -> Slot | None:
    """What a supervisor says in the environment, or None; no process started from here is to see it.

    Raises ConfigurationError for what no supervisor says.
    """
    text = environ.pop(VARIABLE, None)
    if text is None:
        return None
    try:
        slot = msgspec.json.decode(text, type=Slot)
    except msgspec.DecodeError as error:
        raise ConfigurationError(
            f"{VARIABLE} is set, which only a supervisor does for its processes, and it is not what one sets: unset it"
        ) from error
    for each in slot.descriptors():
        os.set_inheritable(each, False)
    return slot


def _follow(leash: int, patience: float) -> None:
    """Wait for the end of the parent, which never sends anything, and end this process as well."""
    poll = select.poll()
    poll.register(leash, select.POLLIN)
    poll.poll()
    logger.error("the supervisor has ended: draining", extra={"event": "slot.orphaned"})
    os.kill(os.getpid(), signal.SIGTERM)
    # a thread of C, which ends the process also while a handler holds the interpreter
    faulthandler.dump_traceback_later(patience, exit=True)
