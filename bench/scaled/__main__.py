"""``python -m bench scaled``: the measurements of the scaled profile, their tables and ``bench/scaled/results``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from bench.processes import BenchError
from bench.scaled import backlog, costs, latency, pinned, report, tables
from bench.scaled.ground import Ground, open_ground
from surehook.errors import SurehookError

#: Wide enough for every table, where the output is no terminal.
WIDTH = 180


class Options(msgspec.Struct, frozen=True):
    """What was asked for."""

    quick: bool
    full: bool
    only: str | None
    folder: Path
    command: str


class Measured(msgspec.Struct, frozen=True):
    """A part's results, for the file and for people."""

    found: Any
    tables: Sequence[Table]


Part = Callable[[Ground, Options, Callable[[str], None]], Measured]


def _costs(ground: Ground, options: Options, say: Callable[[str], None]) -> Measured:
    sizes = costs.QUICK if options.quick else costs.NORMAL
    found = costs.CostSuite(ground, sizes, say).everything(options.only)
    return Measured(found, [report.costs_table(each, options.command) for each in found])


def _backlog(ground: Ground, options: Options, say: Callable[[str], None]) -> Measured:
    sizes = backlog.QUICK if options.quick else backlog.FULL if options.full else backlog.NORMAL
    found = backlog.BacklogSuite(ground, options.folder, sizes, say).everything()
    return Measured(found, [tables.backlog_table(each, options.command) for each in found])


def _pinned(ground: Ground, options: Options, say: Callable[[str], None]) -> Measured:
    sizes = pinned.QUICK if options.quick else pinned.FULL if options.full else pinned.NORMAL
    found = pinned.PinnedSuite(ground, sizes, say).everything()
    return Measured(found, [tables.pinned_table(found, options.command)])


def _latency(ground: Ground, options: Options, say: Callable[[str], None]) -> Measured:
    sizes = latency.QUICK if options.quick else latency.NORMAL
    found = latency.LatencySuite(ground, sizes, say).everything()
    shown = [
        table(each, options.command) for each in found for table in (tables.latency_table, tables.flow_table)
    ]
    return Measured(found, shown)


PARTS: Mapping[str, Part] = {"costs": _costs, "backlog": _backlog, "pinned": _pinned, "latency": _latency}


def main(arguments: Sequence[str]) -> int:
    """0 when every run was verified, 1 when one was not: then there are no numbers of that part and those after it."""
    parser = argparse.ArgumentParser(prog="python -m bench scaled", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all of them by default"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one small round: shows that it works, measures nothing"
    )
    parser.add_argument(
        "--full", action="store_true", help="5,000,000 finished events: takes 30 GB of disk, and long"
    )
    parser.add_argument("--only", choices=costs.WORK, help="of the part costs")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(__file__).parents[1],
        help="where files of SQLite are; PostgreSQL's are where temporary files are (TMPDIR)",
    )
    parser.add_argument("--results", type=Path, default=report.RESULTS, help="the folder that is written")
    given = parser.parse_args(arguments)
    if unknown := [part for part in given.parts if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}: choose from {', '.join(PARTS)}")
    return run(given, given.parts or list(PARTS))


def run(given: argparse.Namespace, parts: Sequence[str]) -> int:
    """One part after the other; each shows its tables and writes its file as soon as it has ended."""
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH)
    try:
        with open_ground() as ground, tempfile.TemporaryDirectory(prefix=".run-", dir=given.folder) as folder:
            durability = ground.durability()
            console.print(durability.text())
            for part in parts:
                command = _command(part, given)
                options = Options(given.quick, given.full, given.only, Path(folder).resolve(), command)
                measured = PARTS[part](ground, options, console.print)
                for table in measured.tables:
                    console.print(table)
                console.print(durability.text())
                report.write(
                    part, options.command, measured.found, durability, given.results, quick=given.quick
                )
    except (BenchError, SurehookError, TimeoutError) as error:
        print(f"no result: {error}", file=sys.stderr)
        return 1
    return 0


def _command(part: str, given: argparse.Namespace) -> str:
    """What makes these numbers again."""
    flags = [f" --{name}" for name in ("quick", "full") if getattr(given, name)]
    if given.only:
        flags.append(f" --only {given.only}")
    return f"python -m bench scaled {part}{''.join(flags)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
