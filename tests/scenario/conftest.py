"""The stage of the scenarios, and the option that lets the power cuts in."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.scenario.receiver import Receiver
from tests.scenario.scene import Scene, installation
from tests.scenario.sender import Sender


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--power-cut",
        action="store_true",
        help="also run the power cuts: Linux, root and a loop device are needed",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "power_cut: cuts the power of a loop-mounted disk (--power-cut)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--power-cut", default=False):
        return
    cuts = [item for item in items if item.get_closest_marker("power_cut")]
    config.hook.pytest_deselected(items=cuts)
    items[:] = [item for item in items if item not in cuts]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """The three parties, with an installation that is configured but not started; killed at the end."""
    async with (
        Receiver("ledger", tmp_path / "ledger.log") as ledger,
        Receiver("store", tmp_path / "store.log") as store,
    ):
        folder = tmp_path / "installation"
        folder.mkdir()
        server = installation(folder, ledger, store)
        async with Sender(server.url, tmp_path / "journal.jsonl") as sender:
            try:
                yield Scene(sender, server, ledger, store)
            finally:
                await server.kill()
                sys.stdout.write(server.logs())  # pytest shows it when the scenario fails
