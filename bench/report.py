"""From runs to ratios: medians, spread, the table and the file of results."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

TITLE = escape(
    "Ratio: Surehook's speed divided by this one's, median [min..max] of the rounds. CPU: time of the process for each"
)
RESULTS = Path(__file__).with_name("results.json")


class Run(msgspec.Struct, frozen=True):
    """One verified run of one variant."""

    variant: str
    #: Events or messages a second.
    rate: float
    #: CPU time of the measured process for each of them, microseconds.
    cpu_us: float
    #: How many were counted as done, in the database or by the receiver: what "verified" means here.
    verified: int
    #: Latencies and the like, for the file.
    details: dict[str, float] = {}


class Variant(msgspec.Struct, frozen=True):
    """One way of doing the work, and what it promises while it does."""

    name: str
    durability: str


class Comparison(msgspec.Struct, frozen=True):
    """Surehook beside its floors. ``rounds`` holds one run of each variant, the subject's first."""

    title: str
    subject: Variant
    floors: tuple[Variant, ...]
    rounds: tuple[tuple[Run, ...], ...]


class Spread(msgspec.Struct, frozen=True):
    """The middle of some values and their extremes."""

    median: float
    low: float
    high: float

    @classmethod
    def over(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def text(self) -> str:
        """As the table shows it."""
        return f"{self.median:.2f} [{self.low:.2f}..{self.high:.2f}]"


class Column(msgspec.Struct, frozen=True):
    """One figure of a run's details."""

    title: str
    name: str
    digits: int = 0


def figure(runs: Sequence[Run], column: Column) -> str:
    """The median over the runs that have it, or nothing."""
    values = [run.details[column.name] for run in runs if column.name in run.details]
    return f"{statistics.median(values):.{column.digits}f}" if values else ""


def runs_of(comparison: Comparison, variant: Variant) -> list[Run]:
    """That variant's run of every round."""
    return [run for runs in comparison.rounds for run in runs if run.variant == variant.name]


def speed(comparison: Comparison, floor: Variant) -> Spread:
    """The subject's rate divided by the floor's, round by round: what else the machine did hits both of a round alike."""
    pairs = zip(runs_of(comparison, comparison.subject), runs_of(comparison, floor), strict=True)
    return Spread.over([subject.rate / beside.rate for subject, beside in pairs])


def show(comparisons: Sequence[Comparison], console: Console, columns: Sequence[Column] = ()) -> None:
    """The table; what each row promises stands under its name."""
    table = Table(title=TITLE, title_justify="left")
    table.add_column("what, and its durability", ratio=1)
    for name in ("ratio", "a second", "CPU us", *(column.title for column in columns)):
        table.add_column(name, justify="right")
    for comparison in comparisons:
        add_rows(table, comparison, columns)
        table.add_section()
    console.print(table)


def add_rows(table: Table, comparison: Comparison, columns: Sequence[Column]) -> None:
    """The subject's row and one for each floor."""
    for variant in (comparison.subject, *comparison.floors):
        runs = runs_of(comparison, variant)
        own = variant is comparison.subject
        table.add_row(
            f"{f'{comparison.title}: ' if own else 'beside '}{variant.name}\n({variant.durability})",
            "" if own else escape(speed(comparison, variant).text()),
            f"{statistics.median(run.rate for run in runs):.0f}",
            f"{statistics.median(run.cpu_us for run in runs):.0f}",
            *(figure(runs, column) for column in columns),
        )


def as_json(comparisons: Sequence[Comparison], *, quick: bool) -> dict[str, Any]:
    """Everything that was measured."""
    return {
        "quick": quick,
        "machine": machine(),
        "comparisons": [
            msgspec.to_builtins(comparison)
            | {
                "ratios": {
                    floor.name: msgspec.to_builtins(speed(comparison, floor)) for floor in comparison.floors
                }
            }
            for comparison in comparisons
        ],
    }


def machine() -> dict[str, object]:
    """What the numbers depend on."""
    return {
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load_at_the_end": os.getloadavg()[0],
    }


def write(
    comparisons: Sequence[Comparison], path: Path, *, quick: bool, more: Mapping[str, object] | None = None
) -> None:
    """Keep everything in a file, and ``more`` beside it; git ignores the usual one."""
    document = as_json(comparisons, quick=quick) | dict(more or {})
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
