"""The benchmarks in their smallest form: every comparison runs, and every run was counted and found complete."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from bench.rounds import take_turns

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("bench")
    file = folder / "results.json"
    options = ["--quick", "--folder", str(folder), "--results", str(file)]
    command = [sys.executable, "-m", "bench", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    assert list(folder.iterdir()) == [file], "the databases are left behind"
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_everything_is_compared_with_its_floors(results: dict[str, Any]) -> None:
    floors = {each["title"]: list(each["ratios"]) for each in results["comparisons"]}
    assert floors == {
        "ingest": [
            "the same server, storing nothing",
            "the same server, every request by ASGI",
            "the same server, one commit per request",
        ],
        "processing with tx": [
            "the same worker, one event at a time",
            "a plain apsw loop, 50 events a transaction",
            "a plain apsw loop, a transaction an event",
        ],
        "processing without tx": [
            "the same worker, one event at a time",
            "a plain apsw loop, 50 events a transaction",
            "a plain apsw loop, a transaction an event",
        ],
        "publishing": ["aiohttp's client alone"],
    }


def test_every_run_was_verified(results: dict[str, Any]) -> None:
    """The benchmark gives up when a count differs; here it is seen that it did count."""
    verified = [run["verified"] for each in results["comparisons"] for runs in each["rounds"] for run in runs]
    assert len(verified) == 14
    assert set(verified) == {600, 400, 200}, "400 events and 200 to warm up; 200 for the slow floors"


def test_every_row_says_what_it_promises(results: dict[str, Any]) -> None:
    for comparison in results["comparisons"]:
        for variant in (comparison["subject"], *comparison["floors"]):
            assert variant["durability"].startswith(("SQLite WAL, synchronous=FULL", "none")), variant


PARTS = ("costs", "backlog", "pinned", "latency")
WAY = "Surehook, queue=redis, 2 processes"
POSTGRESQL_PROMISES = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


class Scaled(NamedTuple):
    """What ``python -m bench scaled`` leaves: a document for each part, and what it says."""

    documents: dict[str, dict[str, Any]]
    said: str


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Scaled:
    folder = tmp_path_factory.mktemp("scaled")
    files = folder / "results"
    options = ["--quick", "--folder", str(folder), "--results", str(files)]
    command = [sys.executable, "-m", "bench", "scaled", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(folder.iterdir()) == [files], "the databases are left behind"
    assert sorted(file.stem for file in files.iterdir()) == sorted(PARTS)
    return Scaled({name: json.loads((files / f"{name}.json").read_text()) for name in PARTS}, done.stdout)


@pytest.mark.timeout(900)
def test_every_scaled_part_names_its_command_and_what_it_rests_on(scaled: Scaled) -> None:
    for name, document in scaled.documents.items():
        command = f"python -m bench scaled {name} --quick"
        assert document["command"] == command
        assert command in scaled.said
        assert document["durability"]["settings"].items() >= POSTGRESQL_PROMISES.items()


@pytest.mark.timeout(900)
def test_costs_are_compared_with_floors_and_verified(scaled: Scaled) -> None:
    verified = {
        each["title"]: {run["variant"]: run["verified"] for run in each["rounds"][0]}
        for each in scaled.documents["costs"]["costs"]
    }
    plain = {
        "a plain psycopg loop, a transaction an event": 100,
        "a plain psycopg loop, 50 events a transaction": 200,
    }
    assert verified == {
        "ingest": {
            WAY: 400,
            "the same server, one commit per request": 300,
            "the same server, storing nothing": 400,
        },
        "processing with tx": {WAY: 400, f"{WAY}, a transaction a handler": 400, **plain},
        "processing without tx": {WAY: 400, **plain},
        "publishing": {WAY: 400, "aiohttp's client alone": 400},
    }


@pytest.mark.timeout(900)
def test_costs_count_what_the_servers_spend(scaled: Scaled) -> None:
    found = {each["title"]: each["rounds"][0][0]["details"] for each in scaled.documents["costs"]["costs"]}
    for title, details in found.items():
        assert details["wal_bytes"] > 500, f"{title}: an event's log is longer than that"
        assert details["connections"] >= 2, f"{title}: two processes have one each"
        assert details["transactions"] > 0
        assert details["postgres_cpu_us"] > 0
    assert found["ingest"]["disk_bytes"] > 900, "the body alone is longer"
    assert found["ingest"]["transactions"] < 1, "requests share them"


@pytest.mark.timeout(900)
def test_handlers_share_transactions_unless_they_are_told_not_to(scaled: Scaled) -> None:
    [compared] = [
        each for each in scaled.documents["costs"]["costs"] if each["title"] == "processing with tx"
    ]
    shared, alone, *_ = (run["details"]["transactions"] for run in compared["rounds"][0])
    assert shared < alone
    assert alone >= 1


@pytest.mark.timeout(900)
def test_a_backlog_is_measured_on_both_databases(scaled: Scaled) -> None:
    found = {each["database"]: each for each in scaled.documents["backlog"]["backlog"]}
    assert list(found) == ["postgresql", "sqlite", "redis"]
    cells = [(600, 0, 1), (900, 0, 1), (600, 500, 1), (900, 500, 1), (600, 0, 7)]
    for name in ("postgresql", "sqlite"):
        assert [tuple(cell.values()) for cell in found[name]["cells"]] == cells
        for measured in found[name]["rounds"][0]:
            assert measured["verified"] == 350
            assert measured["milliseconds"].keys() == measured["pages"].keys()
            assert measured["pages"]["claim 50 events"] >= 50 * 3, "the row, its index and its body"
    assert [each["verified"] for each in found["redis"]["rounds"][0]] == [600, 900]


@pytest.mark.timeout(900)
def test_claims_are_measured_beside_an_old_transaction(scaled: Scaled) -> None:
    found = scaled.documents["pinned"]["pinned"]
    assert found["variants"] == ["a transaction open since before", "none open"]
    pinned, free = found["rounds"][0]
    assert pinned["verified"] == free["verified"] == 1000
    assert pinned["last"]["search_pages"] > pinned["first"]["search_pages"], "nothing was pinned"


@pytest.mark.timeout(900)
def test_latencies_reach_the_destination(scaled: Scaled) -> None:
    [found] = scaled.documents["latency"]["latency"]
    *ways, floor = found["rounds"][0]
    assert [each["variant"].partition(":")[0] for each in ways] == ["LISTEN/NOTIFY", "Redis", "polling only"]
    assert {each["verified"] for each in ways} == {70}
    for each in ways:
        spans = each["spans"]
        assert 0 < spans["answered"]["p50_ms"] < spans["delivered"]["p50_ms"]
        assert spans["started"]["p50_ms"] < spans["delivered"]["p50_ms"]
        assert sum(each["details"][f"{role}_cpu_us"] for role in ("ingest", "worker", "publisher")) > 0
    assert list(floor["spans"]) == ["answered"]


def test_each_round_begins_with_another_variant() -> None:
    order: list[tuple[int, str]] = []

    def turn(name: str, number: int) -> str:
        order.append((number, name))
        return f"{name}{number}"

    rounds = take_turns(2, {name: partial(turn, name) for name in ("a", "b", "c")})
    assert [list(each.values()) for each in rounds] == [["a0", "b0", "c0"], ["a1", "b1", "c1"]]
    assert order == [(0, "a"), (0, "b"), (0, "c"), (1, "b"), (1, "c"), (1, "a")]
