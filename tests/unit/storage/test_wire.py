"""A connection spoken to directly notices its end, and touches no other connection afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import AsyncConnection

from surehook.storage.postgres.wire import Wire, own
from tests.services import PostgresServer


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    with postgres.database() as url:
        yield url


async def test_a_connection_that_ends_unheard_is_noticed(url: str) -> None:
    """libuv watches a socket no longer that was reset, as it is when the server crashes."""
    connection = await AsyncConnection.connect(url, autocommit=True)
    wire = Wire(connection, prepare=False)
    wire.open()
    running = asyncio.create_task(wire.run([own("SELECT pg_sleep(600)")]))
    await asyncio.sleep(0)
    assert wire.busy
    asyncio.get_running_loop().remove_reader(connection.pgconn.socket)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
    with pytest.raises(psycopg.OperationalError):
        await asyncio.wait_for(running, 20)
    assert not wire.close()
    await connection.close()


async def test_a_closed_wire_leaves_the_socket_to_whoever_has_its_number_now(url: str) -> None:
    loop = asyncio.get_running_loop()
    connection = await AsyncConnection.connect(url, autocommit=True)
    wire = Wire(connection, prepare=False)
    wire.open()
    assert await wire.run([own("SELECT 1")])
    assert wire.close()
    loop.add_reader(connection.pgconn.socket, lambda: None)
    wire.close()
    assert loop.remove_reader(connection.pgconn.socket)
    await connection.close()
