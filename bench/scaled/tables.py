"""The tables of the backlog, of old transactions and of latencies."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from rich.markup import escape
from rich.table import Table

from bench.report import Spread
from bench.scaled.backlog import Backlog, Cell
from bench.scaled.latency import FLOOR, ROLES, Latencies, Passage
from bench.scaled.pinned import Pinning, Worked

#: Until what, as people say it.
SPANS = {"answered": "answered", "started": "handler started", "delivered": "message delivered"}
#: What is told of each event on its whole way.
FIGURES = {
    **{f"{role}_cpu_us": f"{role}\nus" for role in ROLES},
    "postgres_cpu_us": "PostgreSQL\nus",
    "redis_cpu_us": "Redis\nus",
    "wal_bytes": "WAL\nbytes",
    "page_images": "page\nimages",
    "disk_bytes": "disk\nbytes",
    "transactions": "trans-\nactions",
    "syncs": "syncs",
    "connections": "connec-\ntions",
}


def backlog_table(found: Backlog, command: str) -> Table:
    """Milliseconds in the first column of figures; what they become, in those beside it."""
    table = Table(
        title=f"{command}\n{found.database}: milliseconds with the smallest backlog; beside it, the time divided by that "
        "one's, median \\[min..max] of the rounds. Pages: touched, in memory or not",
        title_justify="left",
    )
    table.add_column("what", no_wrap=True)
    for cell in found.cells:
        table.add_column(cell.text("\n"), justify="right", no_wrap=True)
    for verb in found.rounds[0][0].milliseconds:
        table.add_row(verb, *(_verb(found, verb, cell) for cell in found.cells))
    return table


def _verb(found: Backlog, verb: str, cell: Cell) -> str:
    place = found.cells.index(cell)
    pages = [runs[place].pages[verb] for runs in found.rounds if verb in runs[place].pages]
    counted = f"\npages: {statistics.median(pages):,.0f}" if pages else ""
    times = [runs[place].milliseconds[verb] for runs in found.rounds]
    if not place:
        return f"{statistics.median(times):.2f} ms{counted}"
    smallest = [runs[0].milliseconds[verb] for runs in found.rounds]
    return escape(_divided(times, smallest).text()) + counted


def pinned_table(found: Pinning, command: str) -> Table:
    """The last tenth of the claims beside the first."""
    table = Table(
        title=f"{command}\npostgresql: {found.claimed:,} of {found.waiting:,} waiting events claimed, 50 at once, and "
        "settled; the last tenth of the claims beside the first. Median \\[min..max] of the rounds",
        title_justify="left",
    )
    table.add_column("old transactions")
    for name in ("claim, ms", "last / first", "slowest, ms", "settle, ms", "last / first"):
        table.add_column(name, justify="right")
    for name in ("pages: claim", "search from the beginning", "settle"):
        table.add_column(f"{name}\nfirst > last", justify="right")
    for place, variant in enumerate(found.variants):
        table.add_row(variant, *_worked([runs[place] for runs in found.rounds]))
    return table


def _worked(runs: Sequence[Worked]) -> Iterator[str]:
    first, last = [run.first for run in runs], [run.last for run in runs]
    yield f"{statistics.median(each.claim_ms for each in first):.2f}"
    yield escape(_divided([each.claim_ms for each in last], [each.claim_ms for each in first]).text())
    yield f"{max(each.slowest_ms for each in last):.2f}"
    yield f"{statistics.median(each.settle_ms for each in first):.2f}"
    yield escape(_divided([each.settle_ms for each in last], [each.settle_ms for each in first]).text())
    for name in ("claim_pages", "search_pages", "settle_pages"):
        ends = [statistics.median(getattr(each, name) for each in some) for some in (first, last)]
        yield " > ".join(f"{end:,.0f}" for end in ends)


def latency_table(found: Latencies, command: str) -> Table:
    """From the request's first byte to each station."""
    pace = found.pace
    table = Table(
        title=f"{command}\n{pace.title}: {pace.rate:g} requests a second at random moments, one process of each role. "
        "Milliseconds since the request was sent, median \\[min..max] of the rounds",
        title_justify="left",
    )
    table.add_column("what tells other processes")
    for text in SPANS.values():
        for share in ("p50", "p99"):
            table.add_column(f"{text}\n{share}", justify="right", no_wrap=True)
    for place, first in enumerate(found.rounds[0]):
        runs = [passages[place] for passages in found.rounds]
        table.add_row(first.variant, *_spans(runs))
    return table


def _spans(runs: Sequence[Passage]) -> Iterator[str]:
    for name in SPANS:
        for share in ("p50_ms", "p99_ms"):
            values = [getattr(run.spans[name], share) for run in runs if name in run.spans]
            yield escape(_milliseconds(values)) if values else ""


def _milliseconds(values: Sequence[float]) -> str:
    spread = Spread.over(values)
    return f"{spread.median:.1f} [{spread.low:.1f}..{spread.high:.1f}]"


def flow_table(found: Latencies, command: str) -> Table:
    """What each event costs on its whole way, at that pace."""
    table = Table(
        title=f"{command}\n{found.pace.title}: what an event costs on its whole way. Medians of the rounds; CPU in us",
        title_justify="left",
    )
    table.add_column("what tells other processes")
    for title in FIGURES.values():
        table.add_column(title, justify="right")
    for place, first in enumerate(found.rounds[0]):
        if first.variant != FLOOR:
            runs = [passages[place] for passages in found.rounds]
            table.add_row(first.variant, *(_figure(runs, name) for name in FIGURES))
    return table


def _figure(runs: Sequence[Passage], name: str) -> str:
    middle = statistics.median(run.details[name] for run in runs)
    return f"{middle:,.0f}" if middle >= 100 else f"{middle:.2f}"


def _divided(values: Sequence[float], by: Sequence[float]) -> Spread:
    return Spread.over([value / beside for value, beside in zip(values, by, strict=True)])
