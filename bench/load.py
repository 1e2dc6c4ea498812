"""The load generator: a process that sends signed webhooks, each with an id of its own, and checks every answer.

Written for this because ``wrk`` can neither stop after an exact number of requests nor look into every answer, and both are
needed to compare answers with rows. Requests are made and signed before the clock starts; while it runs the generator only
writes bytes and looks for two substrings, over raw sockets on uvloop. What it costs is printed beside the server's cost.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import json
import os
import time
from collections.abc import Iterator, Sequence
from typing import cast

import msgspec
import uvloop
from examples.demo.samples import stripe_body

from bench.processes import cpu_seconds

#: The id in the sample that each request replaces by its own.
ID = b"evt_1RkDemo00000000"
SECRET = "whsec_bench"
#: Keep-alive connections, each with one request in flight.
CONNECTIONS = 64
#: Sent before the clock starts, so that code and caches are warm.
WARM_UP = 200


def make_requests(count: int, run: str, size: int = 0) -> list[bytes]:
    """``count`` complete HTTP requests, signed by Stripe's scheme, about 1 KB of body each, or ``size`` bytes."""
    body, at = make_body(size), int(time.time())
    return [request(body.replace(ID, b"evt_%s_%d" % (run.encode(), number)), at) for number in range(count)]


def make_body(size: int) -> bytes:
    """The sample, with so many more lines on its invoice that it has ``size`` bytes or a few more; 0 for none."""
    body = stripe_body("invoice.paid", 0, {})
    lines = [
        {"id": f"il_{number:024d}", "object": "line_item", "amount": 100 * number, "currency": "eur"}
        for number in range(max(0, size - len(body)) // 90)
    ]
    return stripe_body("invoice.paid", 0, {"lines": {"object": "list", "data": lines}}) if lines else body


def request(body: bytes, at: int) -> bytes:
    """One of them, with the headers that Stripe sends."""
    digest = hmac.new(SECRET.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    head = (
        "POST /webhooks/stripe HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*; q=0.5, application/xml\r\n"
        "Cache-Control: no-cache\r\nUser-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n"
        "Content-Type: application/json; charset=utf-8\r\n"
        f"Stripe-Signature: t={at},v1={digest}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Answers:
    """What has been answered so far."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.wrong: list[bytes] = []
        self.duplicates = 0
        #: Of the wrong ones, those that ask to send again: nothing is lost, and perhaps it was stored.
        self.refused = 0

    def answer(self, answer: bytes, seconds: float) -> None:
        """Count one: right is 200, and whether it is a duplicate or not."""
        self.seconds.append(seconds)
        if not (answer.startswith(b"HTTP/1.1 200") and b'"duplicate":' in answer):
            self.wrong.append(answer[:300])
            self.refused += answer.startswith(b"HTTP/1.1 503")
        elif b'"duplicate":true' in answer:
            self.duplicates += 1

    def expect(self, duplicates: int) -> None:
        """It is wrong as well if not so many of them were duplicates."""
        if self.duplicates != duplicates:
            self.wrong.append(b"%d answers say duplicate, expected %d" % (self.duplicates, duplicates))


class Tally(Answers):
    """Answers so far; ``ended`` is set with the last."""

    def __init__(self, requests: Sequence[bytes]) -> None:
        super().__init__()
        self.requests: Iterator[bytes] = iter(requests)
        self.missing = len(requests)
        self.ended = asyncio.get_running_loop().create_future()

    def answer(self, answer: bytes, seconds: float) -> None:
        """Count one, and see whether it is the last."""
        super().answer(answer, seconds)
        self.missing -= 1
        if not self.missing and not self.ended.done():
            self.ended.set_result(None)


class Connection(asyncio.Protocol):
    """One connection in closed loop: the next request leaves when the answer to the one before is complete."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._buffer = b""
        self._began: float | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        self._buffer, self._began = b"", None
        request = next(self._tally.requests, None)
        if request is None:
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if end and self._began is not None and len(body) >= content_length(head):
            self._tally.answer(self._buffer, time.perf_counter() - self._began)
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._began is not None and not self._tally.ended.done():
            self._tally.ended.set_exception(
                ConnectionError(f"the server closed a connection without answer: {exc}")
            )


def content_length(head: bytes) -> int:
    """The announced size of the body."""
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0])


async def send(ports: Sequence[int], requests: Sequence[bytes], patience: float = 120) -> Tally:
    """Send them all, over connections to each port in turn; returns when every one is answered.

    Raises TimeoutError after ``patience`` seconds.
    """
    tally = Tally(requests)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(patience):
        for number in range(min(CONNECTIONS, len(requests))):
            port = ports[number % len(ports)]
            await loop.create_connection(lambda: Connection(tally), "127.0.0.1", port)
        await tally.ended
    return tally


class Load(msgspec.Struct, frozen=True):
    """What is sent against the clock: so many requests, of about so many bytes, and the share that repeats earlier ones."""

    count: int
    size: int = 0
    repeated: float = 0.0

    @property
    def repeats(self) -> int:
        """How many requests are repetitions; the first time they are sent before the clock starts."""
        return round(self.count * self.repeated)

    def make(self, run: str) -> tuple[list[bytes], list[bytes]]:
        """The requests to warm up with, and those against the clock, with the repetitions spread over them."""
        fresh = make_requests(WARM_UP + self.count, run, self.size)
        if not self.repeats:
            return fresh[:WARM_UP], fresh[WARM_UP:]
        early = fresh[: WARM_UP + self.repeats]
        timed, again = fresh[len(early) :] + early[WARM_UP:], self.count - self.repeats
        order = sorted(
            range(self.count), key=lambda n: (n - again) / self.repeats if n >= again else n / again
        )
        return early, [timed[number] for number in order]


async def measure(ports: Sequence[int], servers: Sequence[int], load: Load) -> dict[str, object]:
    """Warm up, then send the load against the clock; ``servers`` are the processes whose CPU time is taken."""
    early, requests = load.make(str(os.getpid()))
    count = len(requests)
    warm = await send(ports, early)
    own, theirs, at = time.process_time(), list(map(cpu_seconds, servers)), time.monotonic_ns()
    began = time.perf_counter()
    tally = await send(ports, requests)
    seconds = time.perf_counter() - began
    used = [
        (cpu_seconds(server) - before) / count * 1e6 for server, before in zip(servers, theirs, strict=True)
    ]
    tally.expect(load.repeats)
    warm.expect(0)
    return {
        "sent": len(early) + count - load.repeats,
        "wrong": [answer.decode(errors="replace") for answer in (warm.wrong + tally.wrong)[:3]],
        "rate": count / seconds,
        "cpu_us": sum(used),
        "generator_cpu_us": (time.process_time() - own) / count * 1e6,
        "p50_ms": percentile(tally.seconds, 0.5) * 1000,
        "p99_ms": percentile(tally.seconds, 0.99) * 1000,
        #: By the clock that all processes of a machine share.
        "began_ns": at,
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    """Prints the measurements as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, nargs="+", required=True)
    parser.add_argument("--server", type=int, nargs="+", required=True, help="process id")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument(
        "--size", type=int, default=0, help="bytes of a body; somewhat less than 1 KB by default"
    )
    parser.add_argument(
        "--repeated", type=float, default=0.0, help="the share of requests that are repetitions"
    )
    arguments = parser.parse_args()
    load = Load(arguments.count, arguments.size, arguments.repeated)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(arguments.port, arguments.server, load))))


if __name__ == "__main__":
    main()
