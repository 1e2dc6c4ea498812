"""Who is compared with whom: how each is run, where it keeps its events, how they are counted there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from bench.peers.install import PROGRAMS, VENV
from bench.peers.stores import Place
from bench.processes import BenchError, python
from bench.report import Variant

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


class Peer(msgspec.Struct, frozen=True):
    """Whom Surehook is beside; Surehook itself is one as well."""

    #: For ``--only``.
    name: str
    #: A file in ``programs``; Surehook has none.
    program: str
    kept: Kept
    #: Whether an event that comes a second time is kept once.
    deduplicates: bool = True


class Entry(msgspec.Struct, frozen=True):
    """One way of doing the work: a row."""

    peer: Peer
    variant: Variant
    place: Place
    #: Events of a run. The slow have fewer, so that their runs are no longer than the others.
    events: int
    #: What the program is told beside the store's URL.
    options: tuple[str, ...] = ()

    @property
    def kept(self) -> Kept:
        """What to count."""
        return self.peer.kept

    @property
    def is_surehook(self) -> bool:
        """Whether it is what the others are beside."""
        return self.peer is SUREHOOK

    @property
    def needs_node(self) -> bool:
        """Whether it is written for Node.js."""
        return self.peer.program.endswith(".mjs")

    @property
    def needs_python(self) -> bool:
        """Whether it is written for Python, in the peers' environment."""
        return self.peer.program.endswith(".py")

    def command(self, verb: str, url: str) -> list[str]:
        """What runs it; ``verb`` is "serve" or "work"."""
        if self.is_surehook:
            return _surehook_itself(verb, url)
        runner = "node" if self.needs_node else str(VENV / "bin" / "python")
        return [runner, str(PROGRAMS / self.peer.program), verb, url, *self.options]


def _surehook_itself(verb: str, url: str) -> list[str]:
    if verb == "serve":
        return python("bench.server", "group-commit", url)
    return python("bench.scaled.node", "worker", url, "--app", "no_op")


SUREHOOK: Final = Peer(
    "surehook",
    "",
    Kept(
        "SELECT DISTINCT external_id FROM inbox_events JOIN inbox_payloads ON inbox_payloads.id = payload_id",
        "SELECT 1 FROM inbox_events WHERE state IN ('RECEIVED', 'RETRYING') AND due_at > 0 UNION ALL"
        " SELECT 1 FROM inbox_events WHERE state = 'PROCESSING' AND lease_until > 0",
        "SELECT 1 FROM inbox_events WHERE state = 'PROCESSED'",
    ),
)
SQLALCHEMY: Final = Peer(
    "sqlalchemy",
    "fastapi_sqlalchemy.py",
    Kept("SELECT DISTINCT event_id FROM webhooks", "SELECT 1 FROM webhooks"),
)
CELERY: Final = Peer("celery", "fastapi_celery.py", Kept("celery", "celery unacked"), deduplicates=False)
PROCRASTINATE: Final = Peer(
    "procrastinate",
    "fastapi_procrastinate.py",
    Kept(
        "SELECT DISTINCT queueing_lock FROM procrastinate_jobs",
        "SELECT 1 FROM procrastinate_jobs WHERE status IN ('todo', 'doing')",
        "SELECT 1 FROM procrastinate_jobs WHERE status = 'succeeded'",
    ),
)
PGQUEUER: Final = Peer(
    "pgqueuer",
    "fastapi_pgqueuer.py",
    Kept(
        "SELECT DISTINCT dedupe_key FROM pgqueuer",
        "SELECT 1 FROM pgqueuer",
        "SELECT 1 FROM pgqueuer_log WHERE status = 'successful'",
    ),
)
DBOS: Final = Peer(
    "dbos",
    "fastapi_dbos.py",
    Kept(
        "SELECT workflow_uuid FROM dbos.workflow_status",
        "SELECT 1 FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING')",
        "SELECT 1 FROM dbos.workflow_status WHERE status = 'SUCCESS'",
    ),
)
GRAPHILE: Final = Peer(
    "graphile-worker",
    "graphile_worker.mjs",
    Kept(
        "SELECT DISTINCT key FROM graphile_worker._private_jobs",
        "SELECT 1 FROM graphile_worker._private_jobs",
    ),
)
PG_BOSS: Final = Peer(
    "pg-boss",
    "pg_boss.mjs",
    Kept(
        "SELECT DISTINCT singleton_key FROM pgboss.job",
        "SELECT 1 FROM pgboss.job WHERE state IN ('created', 'retry', 'active')",
        "SELECT 1 FROM pgboss.job WHERE state = 'completed'",
    ),
)
BULLMQ: Final = Peer(
    "bullmq",
    "bullmq.mjs",
    Kept("bull:webhooks:wait", "bull:webhooks:wait bull:webhooks:active", "bull:webhooks:completed"),
)

ON_SQLITE: Final = "Surehook on SQLite"
ON_POSTGRES: Final = "Surehook on PostgreSQL"


def _sqlite(peer: Peer, title: str, promise: str, events: int, *options: str) -> Entry:
    return Entry(peer, Variant(title, f"{FULL}; {promise}"), Place.SQLITE, events, options)


def _postgres(peer: Peer, title: str, promise: str, events: int, *options: str) -> Entry:
    return Entry(peer, Variant(title, f"{POSTGRES}; {promise}"), Place.POSTGRESQL, events, options)


def _redis(peer: Peer, title: str, promise: str, events: int) -> tuple[Entry, Entry]:
    """One entry for each way in which Redis keeps its file."""
    always = Variant(f"{title}, always", f"{ALWAYS}; {promise}")
    everysec = Variant(f"{title}, everysec", f"{EVERYSEC}; {promise}")
    return Entry(peer, always, Place.REDIS_ALWAYS, events), Entry(
        peer, everysec, Place.REDIS_EVERYSEC, events
    )


_SHARED: Final = "answered after a commit that many requests share; once per event"
_OWN: Final = "answered after a commit of its own"
_BY_HAND: Final = f"{_OWN}; once per event, by a unique key"
_HAND: Final = "FastAPI + SQLAlchemy"

#: Webhooks answered behind HTTP.
INGEST: Final[Sequence[Entry]] = (
    _sqlite(SUREHOOK, ON_SQLITE, _SHARED, 12_000),
    _postgres(SUREHOOK, ON_POSTGRES, _SHARED, 10_000),
    _sqlite(SQLALCHEMY, f"{_HAND}, SQLite", _BY_HAND, 1_000, "sync"),
    _postgres(SQLALCHEMY, f"{_HAND}, PostgreSQL, psycopg", _BY_HAND, 1_000, "sync"),
    _postgres(SQLALCHEMY, f"{_HAND}, PostgreSQL, asyncpg", _BY_HAND, 1_000, "async"),
    *_redis(CELERY, "FastAPI + Celery, Redis", "does NOT deduplicate", 1_500),
    _postgres(
        PROCRASTINATE, "FastAPI + Procrastinate", f"{_OWN}; once while it waits, by queueing lock", 1_200
    ),
    _postgres(PGQUEUER, "FastAPI + PgQueuer", f"{_OWN}; once until it has run, by dedupe key", 2_500),
    _postgres(DBOS, "FastAPI + DBOS", f"{_OWN}; once per event, by workflow id", 1_500),
    _postgres(
        GRAPHILE,
        "node:http + graphile-worker",
        f"{_OWN}; once while it waits, by job key: the later one stays",
        2_000,
    ),
    _postgres(
        PG_BOSS, "node:http + pg-boss", f"{_OWN}; once while it waits, by policy and singleton key", 2_500
    ),
    *_redis(BULLMQ, "node:http + BullMQ, Redis", "once per event, by job id", 6_000),
)

_TOGETHER: Final = "claims and completions share commits"
_BATCHES: Final = "completions in batches"
_EACH: Final = "a commit for each completion"

#: Jobs that wait, worked off by one worker whose handler does nothing.
PROCESSING: Final[Sequence[Entry]] = (
    _sqlite(SUREHOOK, ON_SQLITE, _TOGETHER, 12_000),
    _postgres(SUREHOOK, ON_POSTGRES, _TOGETHER, 12_000),
    _postgres(PGQUEUER, "PgQueuer, batch_size=10, its default", _BATCHES, 12_000, "1", "10"),
    _postgres(
        PGQUEUER, "PgQueuer, 5 consumers with batch_size=10, as its benchmark", _BATCHES, 12_000, "5", "10"
    ),
    _postgres(PGQUEUER, "PgQueuer, batch_size=100", _BATCHES, 12_000, "1", "100"),
    _postgres(GRAPHILE, "graphile-worker, 24 jobs at once", _EACH, 4_000),
    _postgres(
        GRAPHILE,
        "graphile-worker, the same with localQueue=500, completeJobBatchDelay=0",
        _BATCHES,
        12_000,
        "tuned",
    ),
    _postgres(PG_BOSS, "pg-boss, work() with batchSize=500, twice a second", _BATCHES, 4_000, "500", "work"),
    _postgres(
        PG_BOSS, "pg-boss, fetch() and complete() with batchSize=500", _BATCHES, 12_000, "500", "fetch"
    ),
    *_redis(BULLMQ, "BullMQ, 100 jobs at once, Redis", "each completed singly", 6_000),
    *_redis(CELERY, "Celery, acks_late, Redis", "each acknowledged singly", 800),
    _postgres(PROCRASTINATE, "Procrastinate, 30 jobs at once", _EACH, 1_000),
    _postgres(DBOS, "DBOS", _EACH, 1_000),
)

#: What may follow ``--only``.
NAMES: Final = tuple(
    dict.fromkeys(entry.peer.name for entry in (*INGEST, *PROCESSING) if not entry.is_surehook)
)


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
    wanted = {SUREHOOK.name, *(only or NAMES)}

    def runnable(entries: Sequence[Entry]) -> list[Entry]:
        found = [entry for entry in entries if entry.peer.name in wanted and (node or not entry.needs_node)]
        return found if any(not entry.is_surehook for entry in found) else []

    missing = [
        entry.variant.name
        for entry in (*INGEST, *PROCESSING)
        if entry.peer.name in wanted and entry.needs_node and not node
    ]
    chosen = Selection(runnable(INGEST), runnable(PROCESSING), missing)
    if not chosen.entries:
        raise BenchError(
            "these peers need Node.js and npm, which are not installed: on Debian, apt-get install nodejs npm"
        )
    return chosen
