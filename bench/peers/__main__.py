"""``python -m bench peers``: Surehook beside its peers on the same work, a table, and ``bench/peers/results``."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from tests.services import PostgresServer, ServiceError
from tests.services.install import NotInstalled, require

from bench import report
from bench.peers import catalogue, install
from bench.peers.catalogue import Selection, select
from bench.peers.stores import shelves
from bench.peers.suite import PeerSuite, Sizes
from bench.processes import BenchError
from bench.report import Column, Comparison
from bench.scaled.ground import SETTINGS, postgres_settings

RESULTS = Path(__file__).with_name("results") / "peers.json"
ROUNDS = 5
#: Wide enough for the table, where the output is no terminal.
WIDTH = 160
COLUMNS = (
    Column("store\nCPU us", "store_cpu_us"),
    Column("both\nCPU us", "whole_cpu_us"),
    Column("p50 ms", "p50_ms", 1),
    Column("p99 ms", "p99_ms", 1),
)


def main(arguments: Sequence[str]) -> int:
    """0 when every run was verified, 1 when one was not: then there are no numbers."""
    parser = argparse.ArgumentParser(prog="python -m bench peers", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=catalogue.NAMES,
        metavar="NAME",
        help=f"one peer; may be repeated: {', '.join(catalogue.NAMES)}",
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"{ROUNDS} by default")
    parser.add_argument(
        "--quick", action="store_true", help="one small round: shows that it works, measures nothing"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(__file__).parents[1],
        help="where files of SQLite are; the servers' are where temporary files are (TMPDIR)",
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file that is written")
    given = parser.parse_args(arguments)
    if given.rounds < 1:
        parser.error("there is at least one round")
    try:
        return run(
            given, Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH)
        )
    except (BenchError, ServiceError, NotInstalled, TimeoutError) as error:
        print(f"no result: {error}", file=sys.stderr)
        return 1


def run(given: argparse.Namespace, console: Console) -> int:
    """Install, measure, show."""
    chosen = select(given.only, node=install.node() is not None)
    prepare(chosen)
    for name in chosen.left_out:
        console.print(f"left out, since Node.js or npm is not installed: {name}")
    sizes = Sizes(1, quick=True) if given.quick else Sizes(given.rounds)
    with (
        PostgresServer(SETTINGS) as postgres,
        tempfile.TemporaryDirectory(prefix=".run-", dir=given.folder) as folder,
    ):
        facts = known(chosen, postgres)
        suite = PeerSuite(shelves(Path(folder).resolve(), postgres), sizes, console.print)
        comparisons = suite.everything(chosen)
    show(comparisons, facts, console)
    given.results.parent.mkdir(parents=True, exist_ok=True)
    report.write(comparisons, given.results, quick=given.quick, more=msgspec.to_builtins(facts))
    return 0


def prepare(chosen: Selection) -> None:
    """Install what the selected peers need."""
    require("redis-server", "redis-server")
    if any(entry.needs_python for entry in chosen.entries):
        install.install_python()
    if any(entry.needs_node for entry in chosen.entries):
        install.install_node()


class Facts(msgspec.Struct, frozen=True):
    """What the numbers rest on."""

    postgresql: str
    settings: dict[str, str]
    redis: str
    versions: dict[str, str]
    left_out: Sequence[str]


def known(chosen: Selection, postgres: PostgresServer) -> Facts:
    """Asked of the servers, and read from what was installed."""
    version, settings = postgres_settings(postgres)
    program = str(require("redis-server", "redis-server"))
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v=(\S+)", said)
    return Facts(version, settings, found[1] if found else said, install.versions(), chosen.left_out)


def show(comparisons: Sequence[Comparison], facts: Facts, console: Console) -> None:
    """The table, and what it rests on."""
    report.show(comparisons, console, COLUMNS)
    settings = ", ".join(f"{name}={value}" for name, value in facts.settings.items())
    console.print(f"PostgreSQL {facts.postgresql}: {settings}. Redis {facts.redis}")
    console.print(", ".join(f"{name} {version}" for name, version in facts.versions.items()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
