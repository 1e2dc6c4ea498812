"""Who is compared with whom: how each is run, where it keeps its events, how they are counted there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from bench.peers.install import PROGRAMS, VENV
from bench.peers.stores import Place
from bench.processes import BenchError, python
from bench.report import Variant

SUREHOOK: Final = "surehook"

POSTGRES: Final = "PostgreSQL, logged tables, synchronous_commit=on"
FULL: Final = "SQLite WAL, synchronous=FULL"
ALWAYS: Final = "Redis, append-only file, appendfsync=always: synced before the answer"
EVERYSEC: Final = "Redis, append-only file, appendfsync=everysec: answered up to a second BEFORE the sync"


class Kept(msgspec.Struct, frozen=True):
    """What to count in a store: queries whose rows are counted, or names in Redis."""

    #: Events that were received, each once.
    stored: str
    #: What is waiting or running.
    left: str
    #: What has run. Empty: finished jobs leave nothing behind, so the worker itself is asked.
    done: str = ""


class Entry(msgspec.Struct, frozen=True):
    """One way of doing the work: a row."""

    #: Whose it is, for ``--only``.
    name: str
    variant: Variant
    place: Place
    #: A file in ``programs``; Surehook has none.
    program: str
    kept: Kept
    #: Events of a run. The slow have fewer, so that their runs are no longer than the others.
    events: int
    #: What the program is told beside the store's URL.
    options: tuple[str, ...] = ()

    @property
    def deduplicates(self) -> bool:
        """Whether an event that comes a second time is kept once."""
        return self.name != "celery"

    @property
    def needs_node(self) -> bool:
        """Whether it is written for Node.js."""
        return self.program.endswith(".mjs")

    @property
    def needs_python(self) -> bool:
        """Whether it is written for Python, in the peers' environment."""
        return self.program.endswith(".py")

    def command(self, verb: str, url: str) -> list[str]:
        """What runs it; ``verb`` is "serve" or "work"."""
        if self.name == SUREHOOK:
            return _command_of_surehook(verb, url)
        runner = "node" if self.needs_node else str(VENV / "bin" / "python")
        return [runner, str(PROGRAMS / self.program), verb, url, *self.options]


def _command_of_surehook(verb: str, url: str) -> list[str]:
    if verb == "serve":
        return python("bench.server", "group-commit", url)
    return python("bench.scaled.node", "worker", url, "--app", "no_op")


INBOX: Final = Kept(
    "SELECT DISTINCT external_id FROM inbox_events JOIN inbox_payloads ON inbox_payloads.id = payload_id",
    "SELECT 1 FROM inbox_events WHERE state IN ('RECEIVED', 'RETRYING') AND due_at > 0 UNION ALL"
    " SELECT 1 FROM inbox_events WHERE state = 'PROCESSING' AND lease_until > 0",
    "SELECT 1 FROM inbox_events WHERE state = 'PROCESSED'",
)
ROWS: Final = Kept("SELECT DISTINCT event_id FROM webhooks", "SELECT 1 FROM webhooks")
CELERY: Final = Kept("celery", "celery unacked")
PROCRASTINATE: Final = Kept(
    "SELECT DISTINCT queueing_lock FROM procrastinate_jobs",
    "SELECT 1 FROM procrastinate_jobs WHERE status IN ('todo', 'doing')",
    "SELECT 1 FROM procrastinate_jobs WHERE status = 'succeeded'",
)
PGQUEUER: Final = Kept(
    "SELECT DISTINCT dedupe_key FROM pgqueuer",
    "SELECT 1 FROM pgqueuer",
    "SELECT 1 FROM pgqueuer_log WHERE status = 'successful'",
)
DBOS: Final = Kept(
    "SELECT workflow_uuid FROM dbos.workflow_status",
    "SELECT 1 FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING')",
    "SELECT 1 FROM dbos.workflow_status WHERE status = 'SUCCESS'",
)
GRAPHILE: Final = Kept(
    "SELECT DISTINCT key FROM graphile_worker._private_jobs", "SELECT 1 FROM graphile_worker._private_jobs"
)
PG_BOSS: Final = Kept(
    "SELECT DISTINCT singleton_key FROM pgboss.job",
    "SELECT 1 FROM pgboss.job WHERE state IN ('created', 'retry', 'active')",
    "SELECT 1 FROM pgboss.job WHERE state = 'completed'",
)
BULLMQ: Final = Kept(
    "bull:webhooks:wait", "bull:webhooks:wait bull:webhooks:active", "bull:webhooks:completed"
)

ON_SQLITE: Final = "Surehook on SQLite"
ON_POSTGRES: Final = "Surehook on PostgreSQL"


def _surehook(title: str, place: Place, promise: str, events: int) -> Entry:
    return Entry(SUREHOOK, Variant(title, promise), place, "", INBOX, events)


def _postgres(name: str, variant: Variant, program: str, kept: Kept, events: int, *options: str) -> Entry:
    return Entry(name, variant, Place.POSTGRESQL, program, kept, events, options)


def _redis(name: str, title: str, program: str, kept: Kept, events: int, promise: str) -> tuple[Entry, Entry]:
    """One entry for each way in which Redis keeps its file."""
    always = Variant(f"{title}, always", f"{ALWAYS}; {promise}")
    everysec = Variant(f"{title}, everysec", f"{EVERYSEC}; {promise}")
    return (
        Entry(name, always, Place.REDIS_ALWAYS, program, kept, events),
        Entry(name, everysec, Place.REDIS_EVERYSEC, program, kept, events),
    )


def _ingest() -> tuple[Entry, ...]:
    """Webhooks answered behind HTTP."""
    group = "answered after a commit that many requests share; once per event"
    own = f"{POSTGRES}; answered after a commit of its own"
    by_hand = "answered after a commit of its own; once per event, by a unique key"
    celery = "does NOT deduplicate"
    variants = {
        "procrastinate": Variant("FastAPI + Procrastinate", f"{own}; once while it waits, by queueing lock"),
        "pgqueuer": Variant("FastAPI + PgQueuer", f"{own}; once until it has run, by dedupe key"),
        "dbos": Variant("FastAPI + DBOS", f"{own}; once per event, by workflow id"),
        "graphile": Variant(
            "node:http + graphile-worker", f"{own}; once while it waits, by job key: the later one stays"
        ),
        "pg-boss": Variant(
            "node:http + pg-boss", f"{own}; once while it waits, by the queue's policy and singleton key"
        ),
    }
    hand, title = "fastapi_sqlalchemy.py", "FastAPI + SQLAlchemy"
    on_file = Variant(f"{title}, SQLite", f"{FULL}; {by_hand}")
    sync = Variant(f"{title}, PostgreSQL, psycopg", f"{POSTGRES}; {by_hand}")
    awaiting = Variant(f"{title}, PostgreSQL, asyncpg", f"{POSTGRES}; {by_hand}")
    return (
        _surehook(ON_SQLITE, Place.SQLITE, f"{FULL}; {group}", 12_000),
        _surehook(ON_POSTGRES, Place.POSTGRESQL, f"{POSTGRES}; {group}", 10_000),
        Entry("sqlalchemy", on_file, Place.SQLITE, hand, ROWS, 1_000, ("sync",)),
        _postgres("sqlalchemy", sync, hand, ROWS, 1_000, "sync"),
        _postgres("sqlalchemy", awaiting, hand, ROWS, 1_000, "async"),
        *_redis("celery", "FastAPI + Celery, Redis", "fastapi_celery.py", CELERY, 1_500, celery),
        _postgres(
            "procrastinate", variants["procrastinate"], "fastapi_procrastinate.py", PROCRASTINATE, 1_200
        ),
        _postgres("pgqueuer", variants["pgqueuer"], "fastapi_pgqueuer.py", PGQUEUER, 2_500),
        _postgres("dbos", variants["dbos"], "fastapi_dbos.py", DBOS, 1_500),
        _postgres("graphile-worker", variants["graphile"], "graphile_worker.mjs", GRAPHILE, 2_000),
        _postgres("pg-boss", variants["pg-boss"], "pg_boss.mjs", PG_BOSS, 2_500),
        *_redis(
            "bullmq", "node:http + BullMQ, Redis", "bullmq.mjs", BULLMQ, 6_000, "once per event, by job id"
        ),
    )


def _processing() -> tuple[Entry, ...]:
    """Jobs that wait, worked off by one worker whose handler does nothing."""
    group = "claims and completions share commits"
    each, batches = f"{POSTGRES}; a commit for each completion", f"{POSTGRES}; completions in batches"
    queue, graphile, boss = "fastapi_pgqueuer.py", "graphile_worker.mjs", "pg_boss.mjs"
    ten = Variant("PgQueuer, batch_size=10, its default", batches)
    five = Variant("PgQueuer, 5 consumers with batch_size=10, as its benchmark", batches)
    hundred = Variant("PgQueuer, batch_size=100", batches)
    singly = Variant("graphile-worker, 24 jobs at once", each)
    tuned = Variant("graphile-worker, the same with localQueue=500, completeJobBatchDelay=0", batches)
    polled = Variant("pg-boss, work() with batchSize=500, twice a second", batches)
    fetched = Variant("pg-boss, fetch() and complete() with batchSize=500", batches)
    return (
        _surehook(ON_SQLITE, Place.SQLITE, f"{FULL}; {group}", 12_000),
        _surehook(ON_POSTGRES, Place.POSTGRESQL, f"{POSTGRES}; {group}", 12_000),
        _postgres("pgqueuer", ten, queue, PGQUEUER, 12_000, "1", "10"),
        _postgres("pgqueuer", five, queue, PGQUEUER, 12_000, "5", "10"),
        _postgres("pgqueuer", hundred, queue, PGQUEUER, 12_000, "1", "100"),
        _postgres("graphile-worker", singly, graphile, GRAPHILE, 4_000),
        _postgres("graphile-worker", tuned, graphile, GRAPHILE, 12_000, "tuned"),
        _postgres("pg-boss", polled, boss, PG_BOSS, 4_000, "500", "work"),
        _postgres("pg-boss", fetched, boss, PG_BOSS, 12_000, "500", "fetch"),
        *_redis(
            "bullmq", "BullMQ, 100 jobs at once, Redis", "bullmq.mjs", BULLMQ, 6_000, "each completed singly"
        ),
        *_redis(
            "celery", "Celery, acks_late, Redis", "fastapi_celery.py", CELERY, 800, "each acknowledged singly"
        ),
        _postgres(
            "procrastinate",
            Variant("Procrastinate, 30 jobs at once", each),
            "fastapi_procrastinate.py",
            PROCRASTINATE,
            1_000,
        ),
        _postgres("dbos", Variant("DBOS", each), "fastapi_dbos.py", DBOS, 1_000),
    )


INGEST: Final[Sequence[Entry]] = _ingest()
PROCESSING: Final[Sequence[Entry]] = _processing()
#: What may follow ``--only``.
NAMES: Final = tuple(dict.fromkeys(entry.name for entry in (*INGEST, *PROCESSING) if entry.name != SUREHOOK))


class Selection(msgspec.Struct, frozen=True):
    """The rows of a run."""

    ingest: Sequence[Entry]
    processing: Sequence[Entry]
    #: The titles of rows that were wanted, but cannot be run here.
    left_out: Sequence[str]

    @property
    def entries(self) -> Sequence[Entry]:
        """All of them."""
        return (*self.ingest, *self.processing)


def select(only: Sequence[str], *, node: bool) -> Selection:
    """The rows of these peers, of all by default, and always Surehook's; without Node.js, those that need it are left out.

    Raises BenchError where nobody is left to be compared with.
    """
    wanted = {SUREHOOK, *(only or NAMES)}

    def runnable(entries: Sequence[Entry]) -> list[Entry]:
        found = [entry for entry in entries if entry.name in wanted and (node or not entry.needs_node)]
        return found if any(entry.name != SUREHOOK for entry in found) else []

    missing = [
        entry.variant.name
        for entry in (*INGEST, *PROCESSING)
        if entry.name in wanted and entry.needs_node and not node
    ]
    chosen = Selection(runnable(INGEST), runnable(PROCESSING), missing)
    if not chosen.entries:
        raise BenchError(
            "these peers need Node.js and npm, which are not installed: on Debian, apt-get install nodejs npm"
        )
    return chosen
