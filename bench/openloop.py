"""The load generator in open loop: requests leave at a given rate, whether the ones before are answered or not.

``python -m bench.openloop --port N ... --server PID ... --rate R --count N``. A latency runs from the moment at which the
request was to be sent, so one that had to wait for a free connection, or for a server that stood still, counts in full. The
moments are random, as those of independent senders are: the gaps are exponential with a mean of ``1 / R`` seconds.

It is plain blocking code around ``select``, which sleeps until something is to be done: its time-out is exact to some 60
microseconds, an event loop's to a millisecond; and a generator that does not sleep takes half of a machine with two cores.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence

from bench.load import CONNECTIONS, WARM_UP, Answers, content_length, make_requests, percentile
from bench.processes import cpu_seconds

#: Seconds in which nothing at all was answered: the server hangs.
PATIENCE = 30.0


class Line:
    """One keep-alive connection, with one request in flight at the most."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._due = 0.0
        #: Since when nothing is in flight.
        self.free = 0.0

    def fileno(self) -> int:
        """For ``select``."""
        return self._socket.fileno()

    def send(self, request: bytes, due: float) -> None:
        """``due``: when it was to be sent."""
        self._buffer, self._due = b"", due
        self._socket.sendall(request)

    def receive(self, answers: Answers) -> bool:
        """Take what has come; whether the answer is complete. Raises ConnectionError when there will be none."""
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed a connection without answer")
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end or len(body) < content_length(head):
            return False
        self.free = time.perf_counter()
        answers.answer(self._buffer, self.free - self._due)
        return True

    def close(self) -> None:
        """What is in flight is not answered any more."""
        self._socket.close()


class Flow:
    """Sends over all connections in turn, so that none is idle for long."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._idle = deque(Line(ports[number % len(ports)]) for number in range(CONNECTIONS))
        self._busy: set[Line] = set()
        #: How late requests left although a connection was free, in seconds: the generator's own share of a latency.
        self.late: list[float] = []

    def send(self, requests: Sequence[bytes], rate: float) -> Answers:
        """All of them, ``rate`` a second on average; returns when every one is answered."""
        answers, waiting = Answers(), moments(requests, rate, time.perf_counter())
        following = next(waiting, None)
        while following or self._busy:
            now = time.perf_counter()
            if following and self._idle and following[0] <= now:
                self._depart(*following)
                following = next(waiting, None)
                continue
            self._await(answers, following[0] - now if following and self._idle else PATIENCE)
        return answers

    def close(self) -> None:
        """Whatever is in flight is not answered any more."""
        for line in (*self._idle, *self._busy):
            line.close()

    def _depart(self, due: float, request: bytes) -> None:
        line = self._idle.popleft()
        self.late.append(time.perf_counter() - max(due, line.free))
        line.send(request, due)
        self._busy.add(line)

    def _await(self, answers: Answers, seconds: float) -> None:
        """Sleep until an answer comes, so many seconds at the most."""
        ready, _, _ = select.select(self._busy, (), (), seconds)
        if not ready and seconds >= PATIENCE:
            raise TimeoutError(f"no answer for {seconds} s")
        for line in ready:
            if line.receive(answers):
                self._busy.discard(line)
                self._idle.append(line)


def moments(requests: Sequence[bytes], rate: float, began: float) -> Iterator[tuple[float, bytes]]:
    """When each request is to be sent."""
    due = began
    for request in requests:
        due += random.expovariate(rate)
        yield due, request


def measure(ports: Sequence[int], servers: Sequence[int], rate: float, count: int) -> dict[str, object]:
    """Warm up, then send ``count`` requests against the clock; ``servers`` are the processes whose CPU time is taken."""
    requests = make_requests(WARM_UP + count, str(os.getpid()))
    gc.disable()
    flow = Flow(ports)
    warm = flow.send(requests[:WARM_UP], rate)
    flow.late.clear()
    own, theirs, began = time.process_time(), sum(map(cpu_seconds, servers)), time.perf_counter()
    at = time.time()
    answers = flow.send(requests[WARM_UP:], rate)
    seconds = time.perf_counter() - began
    flow.close()
    warm.expect(0)
    answers.expect(0)
    return {
        "sent": len(requests),
        "refused": warm.refused + answers.refused,
        "others_wrong": len(warm.wrong + answers.wrong) - warm.refused - answers.refused,
        "wrong": [answer.decode(errors="replace") for answer in (warm.wrong + answers.wrong)[:3]],
        "rate": count / seconds,
        "cpu_us": (sum(map(cpu_seconds, servers)) - theirs) / count * 1e6,
        "generator_cpu_us": (time.process_time() - own) / count * 1e6,
        "p50_ms": percentile(answers.seconds, 0.5) * 1000,
        "p99_ms": percentile(answers.seconds, 0.99) * 1000,
        "late_p99_ms": percentile(flow.late, 0.99) * 1000,
        #: The window, in seconds since the epoch.
        "began": at,
        "ended": at + seconds,
    }


def main() -> None:
    """Prints the measurements as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, nargs="+", required=True)
    parser.add_argument("--server", type=int, nargs="+", required=True, help="process id")
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--count", type=int, required=True)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.port, arguments.server, arguments.rate, arguments.count)))


if __name__ == "__main__":
    main()
