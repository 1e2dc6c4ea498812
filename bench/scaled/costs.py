"""What one event costs on PostgreSQL: received, processed, published; with both queues and one or two processes."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Final, Literal

import msgspec

from bench import server
from bench.looking import looking
from bench.processes import BenchError, run, serving
from bench.report import Run, Variant
from bench.rounds import take_turns
from bench.scaled.family import Family, family
from bench.scaled.ground import Ground
from bench.scaled.meter import Meter, seconds_of
from bench.scaled.report import Costs

#: What is measured, in this order.
WORK: Final = ("ingest", "with_tx", "without_tx", "publishing")
QUEUES: Final = ("database", "redis")
PROCESSES: Final = (1, 2)
BATCH: Final = 50

GROUP: Final = "answers after a commit that many requests share"
CLAIMS: Final = "claims and completions are durable"
RESULTS: Final = "claims and results are durable"
NO_STORE = Variant("the same server, storing nothing", "none; answers at once")
COMMIT_EACH = Variant("the same server, one commit per request", "answers after a commit of its own")
PLAIN_BATCH = Variant(f"a plain psycopg loop, {BATCH} events a transaction", "claims nothing")
PLAIN_EACH = Variant("a plain psycopg loop, a transaction an event", "claims nothing")
BARE = Variant("aiohttp's client alone", "none; writes nothing down")

#: Does one run of one variant.
Runner = Callable[[], Run]


class Way(msgspec.Struct, frozen=True):
    """How Surehook is run."""

    queue: str
    processes: int
    #: Each handler has a transaction of its own (``postgres.shared_turns = false``).
    alone: bool = False

    def variant(self, promise: str) -> Variant:
        """Its row in a table."""
        many = "es" if self.processes > 1 else ""
        alone = ", a transaction a handler" if self.alone else ""
        return Variant(f"Surehook, queue={self.queue}, {self.processes} process{many}{alone}", promise)


WAYS: Final = tuple(Way(queue, processes) for processes in PROCESSES for queue in QUEUES)


class Sizes(msgspec.Struct, frozen=True):
    """How much work one run is, and how often it is repeated."""

    rounds: int
    ways: tuple[Way, ...]
    #: Requests of a run of ingest; of its floor that commits each of them.
    received: int
    received_each: int
    #: Events that are processed and messages that are published in a run; events of the two slow floors.
    processed: int
    plain: int


NORMAL = Sizes(rounds=5, ways=WAYS, received=12_000, received_each=3_000, processed=6_000, plain=3_000)
QUICK = Sizes(rounds=1, ways=(WAYS[-1],), received=200, received_each=100, processed=200, plain=100)


class CostSuite:
    """The comparisons. Each run has a database of its own, copied from the same rows."""

    def __init__(self, ground: Ground, sizes: Sizes, say: Callable[[str], None]) -> None:
        self._ground = ground
        self._sizes = sizes
        self._say = say
        self._announced: bytes | None = None

    def everything(self, only: str | None = None) -> list[Costs]:
        """Ingest makes the events that are processed, and processing the messages that are published."""
        wanted = (only,) if only else WORK
        found = [self._ingest()] if "ingest" in wanted else []
        self._make_received()
        found += [self._processing(app) for app in ("with_tx", "without_tx") if app in wanted]
        if "publishing" in wanted:
            self._make_published()
            found.append(self._publishing())
        return found

    def _ingest(self) -> Costs:
        sizes = self._sizes
        runners: dict[Variant, Runner] = {
            way.variant(GROUP): partial(self._receive_in_copy, way) for way in self._sizes.ways
        }
        runners[COMMIT_EACH] = partial(self._serve, COMMIT_EACH, server.SINGLE, sizes.received_each)
        runners[NO_STORE] = partial(self._serve, NO_STORE, server.NOTHING, sizes.received)
        return self._compare("ingest", runners, COMMIT_EACH)

    def _processing(self, app: str) -> Costs:
        runners: dict[Variant, Runner] = {
            way.variant(CLAIMS): partial(self._process_copy, way, app) for way in self._ways_of(app)
        }
        runners[PLAIN_EACH] = partial(self._plain, PLAIN_EACH, app, 1, self._sizes.plain)
        runners[PLAIN_BATCH] = partial(self._plain, PLAIN_BATCH, app, BATCH, self._sizes.processed)
        return self._compare(f"processing {app.replace('_', ' ')}", runners, PLAIN_EACH)

    def _ways_of(self, app: str) -> tuple[Way, ...]:
        ways = self._sizes.ways
        return (*ways, msgspec.structs.replace(ways[0], alone=True)) if app == "with_tx" else ways

    def _publishing(self) -> Costs:
        runners: dict[Variant, Runner] = {
            way.variant(RESULTS): partial(self._publish, way) for way in self._sizes.ways
        }
        return self._compare("publishing", {**runners, BARE: self._bare}, BARE)

    def _compare(self, title: str, runners: Mapping[Variant, Runner], floor: Variant) -> Costs:
        turns = {variant: partial(self._run, title, runner) for variant, runner in runners.items()}
        rounds = [tuple(done.values()) for done in take_turns(self._sizes.rounds, turns)]
        return Costs(title, tuple(runners), floor, tuple(rounds))

    def _run(self, title: str, runner: Runner, number: int) -> Run:
        done = runner()
        self._say(f"{title}, round {number + 1}: {done.variant}: {done.rate:.0f}/s, {done.verified} verified")
        return done

    def _receive_in_copy(self, way: Way) -> Run:
        with self._ground.database() as url:
            return self._receive(way, url, self._sizes.received)

    def _receive(self, way: Way, url: str, count: int) -> Run:
        self._ground.announce(None)
        variant = way.variant(GROUP)
        with family("ingest", way.processes, url, "--queue", self._queue(way)) as nodes:
            nodes.go()
            with Meter(self._ground, url) as meter:
                seen = self._load(variant, nodes.ports, nodes.pids, count)
                meter.stop()
                nodes.kill()
                return _received(variant, url, seen, meter.figures(seen["sent"]))

    def _serve(self, variant: Variant, inbox: str, count: int) -> Run:
        with self._ground.database() as url, ExitStack() as serves:
            process = serves.enter_context(serving("bench.server", inbox, url))
            with Meter(self._ground, url) as meter:
                seen = self._load(variant, [process.port], [process.pid], count)
                meter.stop()
                serves.close()
                return _received(variant, url, seen, meter.figures(seen["sent"]))

    def _load(
        self, variant: Variant, ports: Sequence[int], pids: Sequence[int], count: int
    ) -> dict[str, Any]:
        seen = run("bench.load", "--port", *ports, "--server", *pids, "--count", count)
        if seen["wrong"]:
            raise BenchError(f"{variant.name}: wrong answers: {seen['wrong']}")
        return seen

    def _make_received(self) -> None:
        """The events that are processed, and their announcements as the queue in Redis keeps them."""
        self._receive(Way("redis", 1), self._ground.make("received"), self._sizes.processed)
        self._announced = self._ground.announced()
        self._ground.rest("received")

    def _make_published(self) -> None:
        """The messages that are published."""
        self._process(Way("database", 1), self._ground.make("published", template="received"), "with_tx")
        self._ground.rest("published")

    def _process_copy(self, way: Way, app: str) -> Run:
        with self._ground.database("received") as url:
            return self._process(way, url, app)

    def _process(self, way: Way, url: str, app: str) -> Run:
        self._ground.announce(self._announced if way.queue == "redis" else None)
        alone = ["--alone"] if way.alone else []
        arguments = (url, "--queue", self._queue(way), "--app", app, *alone)
        with family("worker", way.processes, *arguments) as nodes:
            measured = self._finish("worker", url, nodes)
        measured["ids_left"] = float(self._ground.waiting())
        return _processed(way.variant(CLAIMS), url, app, measured, None)

    def _plain(self, variant: Variant, app: str, batch: int, limit: int) -> Run:
        flags = ["--with-tx"] if app == "with_tx" else []
        with self._ground.database("received") as url, Meter(self._ground, url) as meter:
            seen = run("bench.scaled.plain", url, "--batch", batch, "--limit", limit, *flags)
            meter.stop()
            return _processed(variant, url, app, {**seen, **meter.figures(limit)}, limit)

    def _publish(self, way: Way) -> Run:
        self._ground.announce(None)
        variant = way.variant(RESULTS)
        with self._ground.database("published") as url, serving("bench.receiver") as receiver:
            arguments = (url, "--queue", self._queue(way), "--sink", receiver.port)
            with family("publisher", way.processes, *arguments) as nodes:
                measured = self._finish("publisher", url, nodes)
            total = _delivered(variant, url, receiver.port)
            with looking(url) as look:
                look.expect({"SELECT count(*) FROM outbox_messages WHERE state = 'SENT'": total})
            return _run(variant, total, measured)

    def _bare(self) -> Run:
        url = self._ground.postgres.url("published")
        with serving("bench.receiver") as receiver:
            seen = run("bench.bare", url, "--port", receiver.port)
            return _run(BARE, _delivered(BARE, url, receiver.port), seen)

    def _finish(self, role: Literal["worker", "publisher"], url: str, nodes: Family) -> dict[str, float]:
        """Let them do all there is to do, and measure it; opening the database counts too."""
        with Meter(self._ground, url) as meter:
            cpu, began = seconds_of(nodes.pids), time.perf_counter()
            nodes.go()
            nodes.finish(role, meter.look)
            seconds, used = time.perf_counter() - began, seconds_of(nodes.pids) - cpu
            meter.stop()
            nodes.kill()
            table = "inbox_events" if role == "worker" else "outbox_messages"
            with looking(url) as look:
                total = look.number(f"SELECT count(*) FROM {table}")
            return {"rate": total / seconds, "cpu_us": used / total * 1e6, **meter.figures(total)}

    def _queue(self, way: Way) -> str:
        return self._ground.redis.url() if way.queue == "redis" else "database"


def _received(variant: Variant, url: str, seen: dict[str, Any], figures: dict[str, float]) -> Run:
    stored = 0 if variant is NO_STORE else seen["sent"]
    with looking(url) as look:
        look.expect(
            {
                "SELECT count(DISTINCT external_id) FROM inbox_events": stored,
                "SELECT count(*) FROM inbox_payloads": stored,
            }
        )
    details = {name: seen[name] for name in ("rate", "cpu_us", "p50_ms", "p99_ms", "generator_cpu_us")}
    return _run(variant, seen["sent"], {**details, **figures})


def _processed(variant: Variant, url: str, app: str, measured: dict[str, float], limit: int | None) -> Run:
    """All events, or so many of them: done, with one effect and one message each."""
    with looking(url) as look:
        total = look.number("SELECT count(*) FROM inbox_events") if limit is None else limit
        numbers = {
            "SELECT count(*) FROM inbox_events WHERE state = 'PROCESSED'": total,
            "SELECT count(DISTINCT event_id) FROM outbox_messages": total,
            "SELECT count(*) FROM outbox_messages": total,
        }
        if app == "with_tx":
            numbers |= {
                "SELECT count(DISTINCT event) FROM bench_payments": total,
                "SELECT count(*) FROM bench_payments": total,
            }
        look.expect(numbers)
    return _run(variant, total, measured)


def _delivered(variant: Variant, url: str, port: int) -> int:
    """How many messages there are. Raises BenchError unless the receiver has seen each of them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        distinct = int(json.load(answer)["distinct"])
    with looking(url) as look:
        total = look.number("SELECT count(*) FROM outbox_messages")
    if distinct != total:
        raise BenchError(f"{variant.name}: the receiver saw {distinct} of {total} messages")
    return total


def _run(variant: Variant, verified: int, measured: dict[str, float]) -> Run:
    details = {name: value for name, value in measured.items() if name not in {"rate", "cpu_us"}}
    return Run(variant.name, measured["rate"], measured["cpu_us"], verified, details)
