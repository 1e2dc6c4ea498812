"""What is compared with what, how much of it, and how each run is done and verified."""

from __future__ import annotations

import contextlib
import json
import shutil
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import msgspec

from bench import server
from bench.looking import looking
from bench.processes import BenchError, run, serving
from bench.report import Comparison, Run, Variant
from bench.rounds import take_turns

FULL = "SQLite WAL, synchronous=FULL"

GROUP = Variant("Surehook", f"{FULL}; answers after a commit that many requests share")
NO_STORE = Variant("the same server, storing nothing", "none; answers at once")
BY_ASGI = Variant(
    "the same server, every request by ASGI", f"{FULL}; answers after a commit that many requests share"
)
COMMIT_EACH = Variant("the same server, one commit per request", f"{FULL}; answers after a commit of its own")
WORKER = Variant("Surehook", f"{FULL}; claims and completions are durable")
ONE_BY_ONE = Variant(
    "the same worker, one event at a time", f"{FULL}; a claim, a transaction and two commits for each event"
)
PLAIN_BATCH = Variant("a plain apsw loop, 50 events a transaction", f"{FULL}; claims nothing")
PLAIN_EACH = Variant("a plain apsw loop, a transaction an event", f"{FULL}; claims nothing")
PUBLISHER = Variant("Surehook", f"{FULL}; claims and results are durable")
BARE = Variant("aiohttp's client alone", "none; writes nothing down")
BATCH = 50


class Sizes(msgspec.Struct, frozen=True):
    """How much work one run is, and how often it is repeated."""

    rounds: int
    #: Events of a run; the two slow floors get fewer, so that their runs are no longer than the others.
    events: int
    commit_each: int
    plain_each: int


NORMAL = Sizes(rounds=5, events=12_000, commit_each=3_000, plain_each=3_000)
QUICK = Sizes(rounds=1, events=400, commit_each=200, plain_each=200)

#: Does one run of one variant.
Runner = Callable[[], Run]


class Suite:
    """The comparisons, over files in one folder that is on the disk to be measured."""

    def __init__(self, folder: Path, sizes: Sizes, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._sizes = sizes
        self._say = say
        self._work = folder / "work.db"

    def everything(self) -> list[Comparison]:
        """Ingest makes the events that are processed, and processing the messages that are published."""
        received, few = self._folder / "received.db", self._folder / "few.db"
        published = self._folder / "published.db"
        ingest = self.ingest()
        self._keep(received, lambda: self._ingest(GROUP, server.GROUP, self._sizes.events))
        self._keep(few, lambda: self._ingest(GROUP, server.GROUP, self._sizes.plain_each))
        with_tx = self.processing(received, few, "with_tx")
        without_tx = self.processing(received, few, "without_tx")
        self._copy(received)
        self._keep(published, lambda: self._process(WORKER, "with_tx"))
        return [ingest, with_tx, without_tx, self.publishing(published)]

    def ingest(self) -> Comparison:
        """From the first byte of a signed webhook to its answer."""
        events, few = self._sizes.events, self._sizes.commit_each
        runners = {
            GROUP: lambda: self._ingest(GROUP, server.GROUP, events),
            NO_STORE: lambda: self._ingest(NO_STORE, server.NOTHING, events),
            BY_ASGI: lambda: self._ingest(BY_ASGI, server.BY_ASGI, events),
            COMMIT_EACH: lambda: self._ingest(COMMIT_EACH, server.SINGLE, few),
        }
        return self._compare("ingest", runners)

    def processing(self, received: Path, few: Path, app: str) -> Comparison:
        """From RECEIVED to PROCESSED, with what the handler wrote and published."""

        def after_copy(runner: Runner, path: Path = received) -> Runner:
            def copy_and_run() -> Run:
                self._copy(path)
                return runner()

            return copy_and_run

        each = self._sizes.plain_each
        runners = {
            WORKER: after_copy(lambda: self._process(WORKER, app)),
            ONE_BY_ONE: after_copy(lambda: self._process(ONE_BY_ONE, app, "--handlers", 1), few),
            PLAIN_BATCH: after_copy(lambda: self._plain(PLAIN_BATCH, app, BATCH, self._received())),
            PLAIN_EACH: after_copy(lambda: self._plain(PLAIN_EACH, app, 1, each)),
        }
        return self._compare(f"processing {app.replace('_', ' ')}", runners)

    def publishing(self, published: Path) -> Comparison:
        """From PENDING to SENT, over HTTP."""

        def surehook() -> Run:
            self._copy(published)
            return self._deliver(PUBLISHER, "bench.node", "publisher", self._work)

        return self._compare(
            "publishing",
            {PUBLISHER: surehook, BARE: lambda: self._deliver(BARE, "bench.bare", f"sqlite:///{published}")},
        )

    def _compare(self, title: str, runners: dict[Variant, Runner]) -> Comparison:
        """The subject and its floors, in rounds."""
        subject, *floors = runners
        turns = {variant: partial(self._run, title, runner) for variant, runner in runners.items()}
        rounds = [tuple(done.values()) for done in take_turns(self._sizes.rounds, turns)]
        return Comparison(title, subject, tuple(floors), tuple(rounds))

    def _run(self, title: str, runner: Runner, number: int) -> Run:
        done = runner()
        self._say(f"{title}, round {number + 1}: {done.variant}: {done.rate:.0f}/s, {done.verified} verified")
        return done

    def _ingest(self, variant: Variant, inbox: str, count: int) -> Run:
        remove(self._work)
        with serving("bench.server", inbox, f"sqlite:///{self._work}") as process:
            seen = run("bench.load", "--port", process.port, "--server", process.pid, "--count", count)
        if seen["wrong"]:
            raise BenchError(f"{variant.name}: wrong answers: {seen['wrong']}")
        stored = 0 if variant is NO_STORE else seen["sent"]
        self._expect(
            {
                "SELECT COUNT(DISTINCT external_id) FROM inbox_events": stored,
                "SELECT COUNT(*) FROM inbox_payloads": stored,
            }
        )
        details = {name: seen[name] for name in ("p50_ms", "p99_ms", "generator_cpu_us")}
        return Run(variant.name, seen["rate"], seen["cpu_us"], seen["sent"], details)

    def _process(self, variant: Variant, app: str, *more: object) -> Run:
        total = self._received()
        seen = run("bench.node", "worker", self._work, "--app", app, *more)
        return self._processed(variant, app, seen, total)

    def _plain(self, variant: Variant, app: str, batch: int, limit: int) -> Run:
        flags = ["--with-tx"] if app == "with_tx" else []
        seen = run("bench.plain", self._work, "--batch", batch, "--limit", limit, *flags)
        return self._processed(variant, app, seen, limit)

    def _processed(self, variant: Variant, app: str, seen: dict[str, Any], total: int) -> Run:
        self._expect(
            {
                "SELECT COUNT(*) FROM inbox_events WHERE state = 'PROCESSED'": total,
                "SELECT COUNT(DISTINCT event_id) FROM outbox_messages": total,
                "SELECT COUNT(*) FROM outbox_messages": total,
            }
        )
        if app == "with_tx":
            self._expect(
                {
                    "SELECT COUNT(DISTINCT event) FROM bench_payments": total,
                    "SELECT COUNT(*) FROM bench_payments": total,
                }
            )
        return Run(variant.name, seen["rate"], seen["cpu_us"], total)

    def _deliver(self, variant: Variant, module: str, *arguments: object) -> Run:
        with serving("bench.receiver") as receiver:
            seen = run(module, *arguments, "--port", receiver.port)
            with urllib.request.urlopen(f"http://127.0.0.1:{receiver.port}/", timeout=10) as answer:
                distinct = int(json.load(answer)["distinct"])
        total = self._number("SELECT COUNT(*) FROM outbox_messages")
        if distinct != total:
            raise BenchError(f"{variant.name}: the receiver saw {distinct} of {total} messages")
        if variant is PUBLISHER:
            self._expect({"SELECT COUNT(*) FROM outbox_messages WHERE state = 'SENT'": total})
        return Run(variant.name, seen["rate"], seen["cpu_us"], distinct)

    def _keep(self, path: Path, runner: Runner) -> None:
        """Do a run, and keep the database that it leaves."""
        runner()
        with contextlib.closing(apsw.Connection(str(self._work))) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        shutil.copy(self._work, path)

    def _copy(self, path: Path) -> None:
        remove(self._work)
        shutil.copy(path, self._work)

    def _received(self) -> int:
        return self._number("SELECT COUNT(*) FROM inbox_events")

    def _number(self, sql: str) -> int:
        with looking(f"sqlite:///{self._work}") as look:
            return look.number(sql)

    def _expect(self, numbers: dict[str, int]) -> None:
        """Raise BenchError unless every statement yields its number."""
        with looking(f"sqlite:///{self._work}") as look:
            look.expect(numbers)


def remove(path: Path) -> None:
    """A database and what SQLite and Surehook keep beside it."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
