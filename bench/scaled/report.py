"""From what was measured on the scaled profile to tables and files."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.markup import escape
from rich.table import Table

from bench.report import Column, Run, Spread, Variant, figure
from bench.scaled.ground import Durability

RESULTS = Path(__file__).with_name("results")


class Costs(msgspec.Struct, frozen=True):
    """Variants beside a floor. ``rounds`` holds one run of each variant, in their order."""

    title: str
    variants: tuple[Variant, ...]
    floor: Variant
    rounds: tuple[tuple[Run, ...], ...]

    def runs_of(self, variant: Variant) -> list[Run]:
        """That variant's run of every round."""
        place = self.variants.index(variant)
        return [runs[place] for runs in self.rounds]

    def speed(self, variant: Variant) -> Spread:
        """Its rate divided by the floor's, round by round."""
        pairs = zip(self.runs_of(variant), self.runs_of(self.floor), strict=True)
        return Spread.over([run.rate / beside.rate for run, beside in pairs])


COLUMNS = (
    Column("PostgreSQL\nus", "postgres_cpu_us"),
    Column("Redis\nus", "redis_cpu_us"),
    Column("WAL\nbytes", "wal_bytes"),
    Column("page\nimages", "page_images", 2),
    Column("disk\nbytes", "disk_bytes"),
    Column("trans-\nactions", "transactions", 2),
    Column("syncs", "syncs", 2),
    Column("connec-\ntions", "connections"),
)


def costs_table(found: Costs, command: str) -> Table:
    """A row for each variant; what it promises stands under its name."""
    table = Table(
        title=f"{command}\n{found.title}. Speed: divided by that of the floor, the row with 1.00; median \\[min..max] of "
        "the rounds. All else: medians, for each event or message; CPU in microseconds. Connections: in all",
        title_justify="left",
    )
    table.add_column("what, and its durability")
    for name in ("speed", "a second", "process\nus", *(column.title for column in COLUMNS)):
        table.add_column(name, justify="right")
    for variant in found.variants:
        table.add_row(*_cells(found, variant))
    return table


def _cells(costs: Costs, variant: Variant) -> list[str]:
    runs = costs.runs_of(variant)
    return [
        f"{variant.name}\n({variant.durability})",
        "1.00" if variant == costs.floor else escape(costs.speed(variant).text()),
        f"{statistics.median(run.rate for run in runs):.0f}",
        f"{statistics.median(run.cpu_us for run in runs):.0f}",
        *(figure(runs, column) for column in COLUMNS),
    ]


def write(
    name: str, command: str, found: Sequence[Any], durability: Durability, folder: Path, *, quick: bool
) -> None:
    """Keep everything in a file; git ignores the usual folder."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "command": command,
        "quick": quick,
        "machine": machine(),
        "durability": msgspec.to_builtins(durability),
        name: msgspec.to_builtins(found),
    }
    (folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def machine() -> dict[str, object]:
    """What the numbers depend on."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load_at_the_end": os.getloadavg()[0],
    }
