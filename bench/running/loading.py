"""The load generators, run to their end and believed only when every answer was right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from bench.looking import looking
from bench.processes import BenchError, run
from bench.report import Column
from bench.running.stores import Others, Store

#: Below it connections would idle for longer than a server keeps them open.
SLOWEST: Final = 30.0

RATE: Final = Column("a second", "rate")
P50: Final = Column("p50\nms", "p50_ms", 1)
P99: Final = Column("p99\nms", "p99_ms", 1)
SERVER: Final = Column("process\nus", "cpu_us")
POSTGRES: Final = Column("PostgreSQL\nus", "postgres_cpu_us")
GENERATOR: Final = Column("gene-\nrator us", "generator_cpu_us")
REFUSED: Final = Column("re-\nfused", "refused")
LATE: Final = Column("late\np99 ms", "late_p99_ms", 1)
OTHERS: Final = Column("others\n%", "others", 1)

_FIGURES: Final = ("rate", "p50_ms", "p99_ms", "cpu_us", "generator_cpu_us")


class Loaded(dict[str, float]):
    """The figures of a run of a generator, and how many different events it has sent."""

    def __init__(self, seen: dict[str, Any], store: Store, before: float, others: Others) -> None:
        super().__init__({name: seen[name] for name in _FIGURES})
        self.sent = int(seen["sent"])
        #: Of those, the ones that were to be sent again: whether they were stored is unknown.
        self.refused = int(seen.get("refused", 0))
        self.seen = seen
        #: What only an open loop has.
        self.update({name: seen[name] for name in ("refused", "late_p99_ms") if name in seen})
        self["others"] = others.percent()
        if used := store.seconds() - before:
            self["postgres_cpu_us"] = used / self.sent * 1e6


def closed(store: Store, ports: Sequence[int], pids: Sequence[int], count: int, *more: object) -> Loaded:
    """Each connection sends its next request when the last one is answered: saturation. ``more``: of bench.load."""
    return _run(store, "bench.load", ports, pids, count, *more)


def opened(store: Store, ports: Sequence[int], pids: Sequence[int], rate: float, seconds: float) -> Loaded:
    """At a given rate, for so long. Some may be refused: see ``Loaded.refused``."""
    rate = max(rate, SLOWEST)
    return _run(store, "bench.openloop", ports, pids, max(1, round(rate * seconds)), "--rate", rate)


def _run(
    store: Store, module: str, ports: Sequence[int], pids: Sequence[int], count: int, *more: object
) -> Loaded:
    before, others = store.seconds(), Others()
    seen = run(module, "--port", *ports, "--server", *pids, "--count", count, *more)
    if seen.get("others_wrong", seen["wrong"]):
        raise BenchError(f"wrong answers: {seen['wrong']}")
    return Loaded(seen, store, before, others)


def expect_stored(url: str, sent: int, refused: int = 0) -> int:
    """How many events are stored. Raises BenchError unless each is, once, with its request; the refused ones may be."""
    with looking(url) as look:
        events = look.number("SELECT count(*) FROM inbox_events")
        if not sent - refused <= events <= sent:
            raise BenchError(f"{events} events are stored; {sent} were sent and {refused} of them refused")
        look.expect(
            {
                "SELECT count(DISTINCT external_id) FROM inbox_events": events,
                "SELECT count(*) FROM inbox_payloads": events,
            }
        )
        return events
