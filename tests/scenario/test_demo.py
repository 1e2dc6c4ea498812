"""``make demo`` as a user runs it: a process of its own, over real HTTP, judged by its exit status and its table."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    quiet = {
        name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "TTY_COMPATIBLE")
    }
    quiet |= environment
    command = [sys.executable, "-m", "examples.demo", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=240, check=False
    )


def row(output: str, name: str) -> list[str]:
    """The cells of the table's row of that name, without the empty ones."""
    for line in output.splitlines():
        cells = [cell.strip() for cell in line.replace("|", "│").strip("│ ").split("│")]
        if cells[0] == name:
            return [cell for cell in cells[1:] if cell]
    raise AssertionError(f"no row {name!r} in\n{output}")


def test_the_demo_ends_well_and_every_number_is_what_it_must_be(tmp_path: Path) -> None:
    demo = run_demo("--folder", str(tmp_path / "demo"))
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "WRONG" not in demo.stdout
    assert row(demo.stdout, "accepted") == ["157", "157", "157", "ok"]
    assert row(demo.stdout, "duplicates") == ["24", "24", "24", "ok"]
    assert row(demo.stdout, "rejected") == ["13", "13", "13", "ok"]
    assert row(demo.stdout, "replayed") == ["3", "3", "ok"]
    assert row(demo.stdout, "delivered") == ["36", "36", "36", "ok"]
    assert "\x1b" not in demo.stdout


def test_the_scaled_demo_kills_a_worker_and_every_number_is_what_it_must_be(tmp_path: Path) -> None:
    demo = run_demo("--profile", "scaled", "--folder", str(tmp_path / "demo"))
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "WRONG" not in demo.stdout
    [killed] = re.findall(
        r"^Worker process (\d+) is in the middle of (\d) orders: kill -9", demo.stdout, re.M
    )
    [other] = re.findall(r"^Process (\d+) has taken its place", demo.stdout, re.M)
    assert other != killed[0]
    assert row(demo.stdout, "cut off by kill -9") == [killed[1], killed[1], "ok"]
    assert row(demo.stdout, "accepted") == ["157", "157", "157", "ok"]
    assert row(demo.stdout, "rows in shop_orders") == ["8", "8", "ok"]
    assert row(demo.stdout, "events with two effects") == ["0", "0", "ok"]
    assert row(demo.stdout, "delivered") == ["36", "36", "36", "ok"]
    assert "\x1b" not in demo.stdout


def test_the_demo_fails_when_a_number_is_wrong(tmp_path: Path) -> None:
    demo = run_demo("--folder", str(tmp_path / "demo"), SUREHOOK_REJECTIONS__KEEP="5")
    assert demo.returncode == 1, demo.stdout + demo.stderr
    assert row(demo.stdout, "rejected") == ["13", "13", "5", "WRONG"]
    assert row(demo.stdout, "accepted") == ["157", "157", "157", "ok"]


def test_the_demo_does_not_overwrite_a_folder_of_someone_else(tmp_path: Path) -> None:
    kept = tmp_path / "thesis.txt"
    kept.write_text("years of work")
    demo = run_demo("--folder", str(tmp_path))
    assert demo.returncode == 1
    assert "the demo did not make" in demo.stderr
    assert kept.read_text() == "years of work"
