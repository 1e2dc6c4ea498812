"""The stage of the scenarios, and the option that lets the power cuts in."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.scenario.backends import BACKENDS, Backend, on_postgres, on_sqlite
from tests.scenario.receiver import Receiver
from tests.scenario.scene import Scene, installation
from tests.scenario.sender import Sender
from tests.services import PostgresServer, RedisServer


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


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """Each of them in turn, empty; servers are started for those that need one."""
    kind, queue = request.param.split("-")
    redis: RedisServer | None = request.getfixturevalue("redis_server") if queue == "redis" else None
    if kind == "sqlite":
        yield on_sqlite(tmp_path / "surehook.db", redis)
        return
    postgres: PostgresServer = request.getfixturevalue("postgres")
    with postgres.database() as url:
        yield on_postgres(url, redis)


@pytest.fixture
async def scene(tmp_path: Path, backend: Backend) -> AsyncIterator[Scene]:
    """The three parties, with an installation that is configured but not started; killed at the end."""
    async with (
        Receiver("ledger", tmp_path / "ledger.log") as ledger,
        Receiver("store", tmp_path / "store.log") as store,
    ):
        server = installation(tmp_path / "installation", ledger, store, backend=backend)
        async with Sender(server.url, tmp_path / "journal.jsonl") as sender:
            try:
                yield Scene(backend, sender, server, ledger, store)
            finally:
                await server.kill()
                sys.stdout.write(server.logs())  # pytest shows it when the scenario fails
