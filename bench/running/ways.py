"""The ways in which all roles are run: in one process or in one each, on either database, with either queue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Final

import msgspec

from bench.report import Variant
from bench.running.stores import Store
from bench.scaled.family import Family, family
from bench.scaled.ground import Ground

INGEST: Final = "ingest"
APART: Final = (INGEST, "worker", "publisher")
TOGETHER: Final = (",".join(APART),)


class Way(msgspec.Struct, frozen=True):
    """Processes by their roles, on a database."""

    name: str
    store: Store
    processes: tuple[str, ...] = APART
    queue: str = "database"

    def variant(self) -> Variant:
        """Its row in a table."""
        promise = "answers, completions and results after a commit"
        return Variant(self.name, f"{self.store.durability}; {promise}")

    @contextmanager
    def nodes(self, url: str, sink: int) -> Iterator[Mapping[str, Family]]:
        """One process of each, at work, the one with ingest first; killed without warning at the end."""
        arguments = (url, "--queue", self.queue, "--sink", sink, "--app", "timed")
        with ExitStack() as stack:
            nodes = {roles: stack.enter_context(family(roles, 1, *arguments)) for roles in self.processes}
            for each in nodes.values():
                each.go()
            yield nodes

    def label(self, roles: str) -> str:
        """The figure that holds what these processes cost; for all in one, what all cost."""
        return f"{roles}_cpu_us" if roles in APART else "cpu_us"


def embedded(store: Store) -> Way:
    """As ``surehook run`` does it."""
    return Way("all roles in one process, SQLite", store, TOGETHER)


def apart(store: Store) -> Way:
    """A process a role on the same file."""
    return Way("a process each, SQLite", store)


def scaled(ground: Ground, store: Store, *, redis: bool = False) -> Way:
    """A process a role on PostgreSQL. Redis forgets what it held."""
    if not redis:
        return Way("a process each, PostgreSQL", store)
    return Way("a process each, PostgreSQL and Redis", store, queue=ground.redis.url())
