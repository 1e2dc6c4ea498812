"""``python -m bench running`` in its smallest form: every part runs, and every run was counted and found complete."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PARTS = (
    "half",
    "beside",
    "arrivals",
    "pipeline",
    "idle",
    "footprint",
    "startup",
    "steady",
    "vacuum",
)
GROUP, EACH, NOTHING = (
    "Surehook",
    "the same server, one commit per request",
    "the same server, storing nothing",
)
EMBEDDED, SCALED = "all roles in one process, SQLite", "a process each, PostgreSQL"

pytestmark = pytest.mark.timeout(700)


class Running(NamedTuple):
    """What it leaves: a document for each part, and what it says."""

    documents: dict[str, dict[str, Any]]
    said: str

    def series(self, part: str) -> list[dict[str, Any]]:
        """A part's comparisons."""
        found: list[dict[str, Any]] = self.documents[part][part]
        return found

    def samples(self, part: str, place: int = 0) -> dict[str, dict[str, Any]]:
        """The first round of one of them, by variant."""
        series = self.series(part)[place]
        return dict(zip([each["name"] for each in series["variants"]], series["rounds"][0], strict=True))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Running:
    folder = tmp_path_factory.mktemp("running")
    files = folder / "results"
    options = ["--quick", "--folder", str(folder), "--results", str(files)]
    command = [sys.executable, "-m", "bench", "running", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(folder.iterdir()) == [files], "the databases are left behind"
    assert sorted(file.stem for file in files.iterdir()) == sorted(PARTS)
    return Running({name: json.loads((files / f"{name}.json").read_text()) for name in PARTS}, done.stdout)


def test_every_part_names_its_command_and_what_each_row_promises(running: Running) -> None:
    for name, document in running.documents.items():
        assert document["command"] == f"python -m bench {name} --quick"
        assert document["command"] in running.said
        for series in running.series(name):
            for variant in series["variants"]:
                promise = (
                    "SQLite WAL, synchronous=FULL",
                    "PostgreSQL fsync=on, synchronous_commit=on",
                    "none",
                )
                assert variant["durability"].startswith(promise), variant


def test_every_run_was_verified(running: Running) -> None:
    """The benchmark gives up when a count differs; here it is seen that it did count."""
    verified = {
        (name, sample["verified"])
        for name in PARTS
        for series in running.series(name)
        for samples in series["rounds"]
        for sample in samples
    }
    assert all(number > 0 for _, number in verified)
    assert {number for name, number in verified if name == "pipeline"} == {400}, "200 and as many to warm up"
    assert {number for name, number in verified if name == "footprint"} == {500}
    assert {number for name, number in verified if name == "vacuum"} == {300, 700}


def test_every_target_is_judged(running: Running) -> None:
    judged = {name: sum(len(series["verdicts"]) for series in running.series(name)) for name in PARTS}
    assert judged == {
        "half": 2,
        "beside": 6,
        "arrivals": 3,
        "pipeline": 0,
        "idle": 4,
        "footprint": 1,
        "startup": 0,
        "steady": 1,
        "vacuum": 6,
    }
    lines = [line for line in running.said.splitlines() if line.startswith(("holds: ", "FALLS SHORT: "))]
    assert len(lines) == sum(judged.values())


def test_half_load_is_half_of_what_each_variant_can_do(running: Running) -> None:
    for place in (0, 1):
        samples = running.samples("half", place)
        assert list(samples) == [GROUP, EACH, NOTHING]
        for sample in samples.values():
            figures = sample["figures"]
            assert 0 < figures["p50_ms"] <= figures["p99_ms"]
            assert figures["rate"] < figures["full_rate"]
            assert figures["generator_cpu_us"] > 0
    postgres = running.samples("half", 1)
    assert postgres[GROUP]["figures"]["postgres_cpu_us"] > 0, "its server works as well"


def test_both_sides_work_beside_each_other(running: Running) -> None:
    alone, together, apart, worker = running.samples("beside").values()
    assert "processed" not in alone["figures"]
    assert "p99_ms" not in worker["figures"]
    for sample in (together, apart):
        assert sample["figures"]["processed"] > 0
        assert sample["figures"]["rate"] > 0


def test_ingest_is_measured_in_variations(running: Running) -> None:
    names = [
        f"{GROUP}: 1 KB",
        f"{GROUP}: 30 KB, 10% duplicates, 2 processes",
        f"{EACH}: 1 KB",
        f"{NOTHING}: 1 KB",
    ]
    for place in (0, 1):
        samples = running.samples("arrivals", place)
        assert [sample["verified"] for sample in samples.values()] == [400, 300, 300, 400]
        assert list(samples) == names


def test_the_pipeline_delivers_everything_on_both_databases(running: Running) -> None:
    samples = running.samples("pipeline")
    assert list(samples) == [
        EMBEDDED,
        f"{SCALED} and Redis",
        "the same server, passing on by aiohttp's client",
    ]
    for name, sample in samples.items():
        assert sample["figures"]["delivered"] > 0
        assert sample["figures"]["cpu_us"] > 0
        assert ("worker_cpu_us" in sample["figures"]) == name.startswith("a process each")


def test_idle_latencies_reach_the_destination(running: Running) -> None:
    samples = running.samples("idle")
    assert len(samples) == 4
    for name in (EMBEDDED, SCALED):
        figures = samples[name]["figures"]
        assert 0 < figures["answered_p50_ms"] < figures["delivered_p50_ms"]
        assert figures["started_p50_ms"] < figures["delivered_p50_ms"]


def test_growth_is_measured_for_every_role(running: Running) -> None:
    embedded, scaled = (running.series("footprint")[place]["rounds"][0][0]["figures"] for place in (0, 1))
    assert 10 < embedded["process_rest"] <= embedded["process_peak"], "an interpreter alone has that much"
    assert {f"{role}_after" for role in ("ingest", "worker", "publisher")} < set(scaled)
    assert min(embedded["disk_bytes"], scaled["disk_bytes"]) > 900, "the body alone is longer"
    assert list(running.samples("steady")) == [f"{EMBEDDED}: process"]


def test_a_start_is_measured_until_it_is_ready(running: Running) -> None:
    samples = running.samples("startup")
    assert len(samples) == 5
    for name in ("surehook run, SQLite", "surehook run, PostgreSQL"):
        assert samples[name]["figures"]["ms"] > 0
        assert samples[name]["figures"]["resident"] > 10


@pytest.mark.parametrize("arguments", [["nonsense"], ["half", "nonsense"], ["running", "nonsense"]])
def test_a_part_that_does_not_exist_is_refused(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "bench", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "nonsense" in done.stderr
