"""How long ``surehook run`` takes until it is ready, and an import, beside an interpreter that does nothing."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from tests.services import free_port

from bench.load import SECRET
from bench.processes import PATIENCE, ROOT, BenchError, cpu_seconds
from bench.report import Column, Variant
from bench.rounds import take_turns
from bench.running.memory import resident
from bench.running.report import Sample, Series
from bench.running.stores import Others, Store

INTERPRETER: Final = Variant("python -c pass", "none")
IMPORT: Final = Variant("python -c 'import surehook'", "none")
COMMAND: Final = Variant("surehook --version", "none")
_PROGRAMS: Final = {
    INTERPRETER: ("-c", "pass"),
    IMPORT: ("-c", "import surehook"),
    COMMAND: ("-m", "surehook", "--version"),
}
COLUMNS: Final = (
    Column("ms", "ms"),
    Column("CPU ms", "cpu_ms"),
    Column("resident\nMB", "resident", 1),
    Column("others\n%", "others", 1),
)
_CONFIGURATION: Final = """
app = "bench.application:with_tx"
database = "{database}"
[server]
port = {port}
[console]
port = {console}
[providers.stripe]
secrets = ["env:BENCH_STRIPE_SECRET"]
[destinations.sink]
url = "http://127.0.0.1:9/"
secrets = ["env:BENCH_SINK_SECRET"]
allow_private = true
"""
_SECRETS: Final = {
    "BENCH_STRIPE_SECRET": SECRET,
    "BENCH_SINK_SECRET": "whsec_" + "c3VyZWhvb2stYmVuY2gtc2lua3Mt" * 2,
}
#: Seconds from one question whether it is ready to the next.
PAUSE: Final = 0.005


class Sizes(msgspec.Struct, frozen=True):
    """How often."""

    rounds: int


NORMAL = Sizes(rounds=7)
QUICK = Sizes(rounds=1)


class StartupSuite:
    """Every start is that of a process of its own."""

    def __init__(
        self, folder: Path, stores: Sequence[Store], sizes: Sizes, say: Callable[[str], None]
    ) -> None:
        """``folder``: for the configuration."""
        self._folder = folder
        self._stores = stores
        self._sizes = sizes
        self._say = say

    def everything(self) -> list[Series]:
        """The one comparison."""
        turns: dict[Variant, Callable[[int], Sample]] = {
            variant: partial(self._program, variant) for variant in _PROGRAMS
        }
        for store in self._stores:
            durability = f"{store.durability}; all roles, until /readyz says yes"
            turns[Variant(f"surehook run, {store.name}", durability)] = partial(self._run, store)
        rounds = take_turns(self._sizes.rounds, turns)
        return [
            Series(
                "Start: until it is ready, or has ended",
                tuple(turns),
                COLUMNS,
                tuple(tuple(done.values()) for done in rounds),
            )
        ]

    def _program(self, variant: Variant, number: int) -> Sample:
        others, before, began = Others(), _children(), time.perf_counter()
        subprocess.run([sys.executable, *_PROGRAMS[variant]], cwd=ROOT, check=True, capture_output=True)
        milliseconds = (time.perf_counter() - began) * 1_000
        figures = {"ms": milliseconds, "cpu_ms": (_children() - before) * 1_000, "others": others.percent()}
        return self._sample(variant.name, number, figures)

    def _run(self, store: Store, number: int) -> Sample:
        with store.fresh() as url:
            port = free_port()
            file = self._folder / "start.toml"
            text = _CONFIGURATION.format(database=url, port=port, console=free_port())
            file.write_text(text, encoding="utf-8")
            figures = _start(file, port)
        return self._sample(f"surehook run, {store.name}", number, figures)

    def _sample(self, name: str, number: int, figures: dict[str, float]) -> Sample:
        self._say(
            f"start, round {number + 1}: {name}: {figures['ms']:.0f} ms, CPU {figures['cpu_ms']:.0f} ms"
        )
        return Sample(1, figures)


def _start(file: Path, port: int) -> dict[str, float]:
    """Run it, and kill it when it is ready."""
    command = [sys.executable, "-m", "surehook", "run", "--config", str(file)]
    others, began = Others(), time.perf_counter()
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **_SECRETS},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            while not _ready(port):
                if process.poll() is not None:
                    raise BenchError(f"surehook run ended with status {process.returncode}")
                if time.perf_counter() - began > PATIENCE:
                    raise BenchError(f"surehook run is not ready after {PATIENCE} s")
                time.sleep(PAUSE)
            return {
                "ms": (time.perf_counter() - began) * 1_000,
                "cpu_ms": cpu_seconds(process.pid) * 1_000,
                "resident": resident(process.pid),
                "others": others.percent(),
            }
        finally:
            process.kill()


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:  # nobody listens yet, or it says no
        return False


def _children() -> float:
    """CPU time of all children that have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
