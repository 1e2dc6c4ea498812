"""Some processes of Surehook that work together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tests.services import free_port

from bench.looking import Look
from bench.processes import PATIENCE, BenchError, Child, child, cpu_seconds

#: Whether anything is left to do. The smallest of an index's first column is found in the index, whatever its size.
LEFT = {
    "worker": (
        "SELECT min(due_at) FROM inbox_events WHERE state IN ('RECEIVED', 'RETRYING') AND due_at > 0",
        "SELECT min(lease_until) FROM inbox_events WHERE state = 'PROCESSING' AND lease_until > 0",
    ),
    "publisher": (
        "SELECT min(due_at) FROM outbox_messages WHERE destination = 'sink' AND state IN ('PENDING', 'RETRYING')",
        "SELECT min(lease_until) FROM outbox_messages WHERE state = 'SENDING' AND lease_until > 0",
    ),
}

#: Seconds from one look to the next: each is work for the database.
LOOK_EVERY = 0.05


class Family:
    """Processes that were loaded, and begin together."""

    def __init__(self, children: Sequence[Child], ports: Sequence[int]) -> None:
        self._children = children
        #: Where those listen that receive.
        self.ports = ports

    @property
    def pids(self) -> list[int]:
        """For their CPU time."""
        return [each.pid for each in self._children]

    def seconds(self) -> float:
        """Their CPU time so far."""
        return sum(map(cpu_seconds, self.pids))

    def go(self) -> None:
        """Let all of them begin, and wait until they work."""
        for each in self._children:
            each.go()
        for each in self._children:
            each.begun()

    def finish(self, role: str, look: Look, within: float = PATIENCE) -> None:
        """Wait until nothing is left to do for a role.

        Raises BenchError when one of them ends, or when it takes longer than ``within`` seconds.
        """
        deadline = time.monotonic() + within
        while not all(look.rows(sql) == [(None,)] for sql in LEFT[role]):
            for each in self._children:
                each.check()
            if time.monotonic() > deadline:
                raise BenchError(f"after {within} s something is left for the {role}")
            time.sleep(LOOK_EVERY)

    def kill(self) -> None:
        """End all of them without warning."""
        for each in self._children:
            each.kill()


@contextmanager
def family(role: str, count: int, *arguments: object) -> Iterator[Family]:
    """So many processes of one role, loaded and waiting; those of ingest have a port each.

    ``role`` may be several roles, with commas in between.
    """
    ports = [free_port() for _ in range(count)] if "ingest" in role.split(",") else []
    own: list[tuple[object, ...]] = [("--port", port) for port in ports] or [()] * count
    with ExitStack() as stack:
        children = [stack.enter_context(child("bench.scaled.node", role, *arguments, *each)) for each in own]
        for each in children:
            each.ready()
        yield Family(children, ports)
