"""``make bench`` in its smallest form: every comparison runs, and every run was counted and found complete."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
        "ingest": ["the same server, storing nothing", "the same server, one commit per request"],
        "processing with tx": [
            "a plain apsw loop, 50 events a transaction",
            "a plain apsw loop, a transaction an event",
        ],
        "processing without tx": [
            "a plain apsw loop, 50 events a transaction",
            "a plain apsw loop, a transaction an event",
        ],
        "publishing": ["aiohttp's client alone"],
    }


def test_every_run_was_verified(results: dict[str, Any]) -> None:
    """The benchmark gives up when a count differs; here it is seen that it did count."""
    verified = [run["verified"] for each in results["comparisons"] for runs in each["rounds"] for run in runs]
    assert len(verified) == 11
    assert set(verified) == {600, 400, 200}, "400 events and 200 to warm up; 200 for the slow floors"


def test_every_row_says_what_it_promises(results: dict[str, Any]) -> None:
    for comparison in results["comparisons"]:
        for variant in (comparison["subject"], *comparison["floors"]):
            assert variant["durability"].startswith(("SQLite WAL, synchronous=FULL", "none")), variant
