"""The private servers of the tests: they start, hold what they promise, break as asked, and never stay behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from tests.services import (
    Pgbouncer,
    PostgresServer,
    RedisServer,
    Service,
    ServiceError,
    free_port,
    require,
    until,
)
from tests.services.install import NotInstalled, find
from tests.services.postgres import StopMode

ROOT = Path(__file__).parents[2]
#: Seconds in which a query that is not held up has long been answered.
HELD_UP = 0.3


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """Not the one of the whole run: this one is stopped, killed and paused."""
    with PostgresServer(in_memory=True) as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty database."""
    with postgres.database() as url:
        yield url


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    """Not the one of the whole run either."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def pgbouncer(postgres: PostgresServer) -> Iterator[Pgbouncer]:
    """A pooler with a single connection to the server."""
    with Pgbouncer(postgres, {"default_pool_size": 1}) as pooler:
        yield pooler


@pytest.fixture(scope="module")
def services(postgres: PostgresServer, redis_server: RedisServer, pgbouncer: Pgbouncer) -> list[Service]:
    return [postgres, redis_server, pgbouncer]


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url, autocommit=True, connect_timeout=10)


def query(url: str, statement: str) -> object:
    """The first value of the first row."""
    with connect(url) as connection:
        row = connection.execute(statement.encode()).fetchone()
        assert row is not None
        return row[0]


def note(url: str, text: str) -> None:
    with connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS notes (text text)")
        connection.execute("INSERT INTO notes VALUES (%s)", (text,))


def notes(url: str) -> list[str]:
    with connect(url) as connection:
        return [text for (text,) in connection.execute("SELECT text FROM notes ORDER BY text")]


def descendants(service: Service) -> list[int]:
    return [service.pid, *(child.pid for child in psutil.Process(service.pid).children(recursive=True))]


def test_a_server_listens_on_its_own_port_on_loopback_only(services: list[Service]) -> None:
    for service in services:
        found = psutil.Process(service.pid).net_connections("all")
        listening = [one.laddr for one in found if one.status == psutil.CONN_LISTEN]
        assert [tuple(address) for address in listening] == [("127.0.0.1", service.port)], service


def test_a_server_never_runs_as_root(services: list[Service]) -> None:
    for service in services:
        user = psutil.Process(service.pid).uids()
        assert user.real == user.effective == user.saved == service.folder.stat().st_uid
        assert user.real != 0


def test_ports_are_given_once() -> None:
    assert len({free_port() for _ in range(50)}) == 50


def test_a_port_is_kept_from_other_processes_while_nobody_listens_on_it() -> None:
    ask = "import sys; from tests.services import ports; print(ports._lock(int(sys.argv[1])))"
    command = [sys.executable, "-c", ask, str(free_port())]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout == b"False\n"


def test_postgres_is_as_durable_as_by_default(postgres: PostgresServer) -> None:
    assert query(postgres.url(), "SHOW fsync") == "on"
    assert query(postgres.url(), "SHOW synchronous_commit") == "on"
    assert query(postgres.url(), "SHOW max_connections") == "200"


def test_a_database_is_gone_after_its_with_even_if_somebody_is_connected(postgres: PostgresServer) -> None:
    with postgres.database() as url, closing(connect(url)) as left_open:
        left_open.execute("SELECT 1")
        note(url, "a")
    assert url.rpartition("/")[2] not in databases(postgres)


def databases(postgres: PostgresServer) -> list[str]:
    with connect(postgres.url()) as connection:
        return [name for (name,) in connection.execute("SELECT datname FROM pg_database")]


def test_a_database_can_be_a_copy_of_another(postgres: PostgresServer) -> None:
    template = postgres.create_database("a template's name")
    note(postgres.url(template), "from the template")
    with postgres.database(template=template) as one, postgres.database(template=template) as other:
        note(one, "own")
        assert notes(one) == ["from the template", "own"]
        assert notes(other) == ["from the template"]
    postgres.drop_database(template)
    assert template not in databases(postgres)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_what_postgres_has_committed_survives_a_stop(
    postgres: PostgresServer, database: str, mode: StopMode
) -> None:
    note(database, mode)
    pid = postgres.pid
    postgres.stop(mode)
    assert not psutil.pid_exists(pid)
    with pytest.raises(psycopg.OperationalError):
        connect(database)
    postgres.start()
    assert notes(database) == [mode]


def test_a_killed_postgres_takes_its_children_along_and_starts_again(
    postgres: PostgresServer, database: str
) -> None:
    note(database, "before")
    with closing(connect(database)) as busy:
        processes = descendants(postgres)
        assert busy.info.backend_pid in processes
        postgres.kill()
        assert not [pid for pid in processes if psutil.pid_exists(pid)]
        with pytest.raises(psycopg.OperationalError):
            busy.execute("SELECT 1")
    assert shared_memory_of(processes[0]) == []
    postgres.start()
    assert notes(database) == ["before"]


def shared_memory_of(creator: int) -> list[str]:
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return [line for line in lines if int(line.split()[4]) == creator]


def test_a_running_postgres_has_the_shared_memory_that_the_test_above_looks_for(
    postgres: PostgresServer,
) -> None:
    assert len(shared_memory_of(postgres.pid)) == 1


def held_up(service: Service, ask: Callable[[], object], more: Callable[[], object]) -> list[object]:
    """Pause a server, see that both questions get no answer, and resume it; returns the answers."""
    with ThreadPoolExecutor() as threads:
        with service.paused():
            asked = [threads.submit(ask), threads.submit(more)]
            assert not wait(asked, HELD_UP).done
        return [one.result(10) for one in asked]


def test_a_paused_postgres_answers_neither_old_nor_new_connections(
    postgres: PostgresServer, database: str
) -> None:
    with connect(database) as connection:
        answers = held_up(
            postgres,
            lambda: connection.execute("SELECT 1").fetchone(),
            lambda: query(database, "SELECT 2"),
        )
    assert answers == [(1,), 2]


def test_a_paused_redis_answers_neither_old_nor_new_connections(redis_server: RedisServer) -> None:
    with redis_server.client(timeout=10) as old, redis_server.client(timeout=10) as new:
        assert old.ping()
        assert held_up(redis_server, old.ping, new.ping) == [True, True]


def test_a_client_of_a_paused_redis_gives_up_in_time(redis_server: RedisServer) -> None:
    with redis_server.client(timeout=HELD_UP) as client:
        with redis_server.paused(), pytest.raises(redis.TimeoutError):
            client.ping()
        assert client.ping()


def test_a_paused_server_can_be_stopped(redis_server: RedisServer) -> None:
    redis_server.pause()
    redis_server.restart(within=10)
    with redis_server.paused():
        redis_server.kill()
    redis_server.start()


@pytest.mark.parametrize("end", [RedisServer.stop, RedisServer.kill])
def test_redis_is_empty_when_it_starts_again(
    redis_server: RedisServer, end: Callable[[RedisServer], None]
) -> None:
    with redis_server.client() as client:
        client.set("a", "b")
        end(redis_server)
        with pytest.raises(redis.ConnectionError):
            client.ping()
        redis_server.start()
        assert client.keys() == []


def test_a_flushed_redis_is_empty(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set("a", "b")
        redis_server.flush()
        assert client.keys() == []


def test_a_full_redis_refuses_or_evicts_as_it_is_told(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set("a", "b")
        redis_server.config_set(maxmemory="1")
        with pytest.raises(redis.OutOfMemoryError):
            client.set("c", "d")
        redis_server.config_set(maxmemory="1", policy="allkeys-random")
        until(lambda: client.dbsize() == 0, "the key is evicted")
        redis_server.config_set(maxmemory="0")
        assert client.set("c", "d")


def test_pgbouncer_gives_a_connection_away_between_transactions(pgbouncer: Pgbouncer) -> None:
    with connect(pgbouncer.url()) as one, connect(pgbouncer.url()) as other:
        backends = [c.execute("SELECT pg_backend_pid()").fetchone() for c in (one, other, one)]
    assert backends == [backends[0]] * 3


def test_pgbouncer_refuses_start_up_parameters_as_debians_does(pgbouncer: Pgbouncer) -> None:
    with pytest.raises(psycopg.OperationalError, match="unsupported startup parameter: options"):
        connect(pgbouncer.url() + "?options=-cwork_mem%3D1MB")


def test_pgbouncer_can_be_killed_and_started_again(pgbouncer: Pgbouncer, database: str) -> None:
    url = pgbouncer.url(database.rpartition("/")[2])
    note(url, "through the pooler")
    pgbouncer.kill()
    with pytest.raises(psycopg.OperationalError):
        connect(url)
    pgbouncer.start()
    assert notes(url) == ["through the pooler"]


def test_two_servers_of_a_kind_know_nothing_of_each_other(
    postgres: PostgresServer, redis_server: RedisServer
) -> None:
    with RedisServer({"maxmemory": "5mb"}) as other, other.client() as theirs, redis_server.client() as ours:
        theirs.set("a", "theirs")
        ours.set("a", "ours")
        assert theirs.get("a") == b"theirs"
        assert theirs.config_get("maxmemory") == {"maxmemory": "5242880"}
    with PostgresServer({"fsync": "off"}) as second:
        assert query(second.url(), "SHOW fsync") == "off"
        assert query(postgres.url(), "SHOW fsync") == "on"
        second.configure(fsync="on", work_mem="5MB")
        second.restart()
        assert query(second.url(), "SHOW fsync") == "on"
        assert query(second.url(), "SHOW work_mem") == "5MB"
    assert not second.folder.exists()


def test_a_server_that_cannot_start_says_why() -> None:
    server = RedisServer({"maxmemory": "a lot"})
    with pytest.raises(ServiceError, match="maxmemory"):
        server.start()
    server.close()
    assert not server.folder.exists()


def test_what_is_not_running_cannot_be_stopped(redis_server: RedisServer) -> None:
    """A scenario must not take a server that has crashed for one that it has killed."""
    os.kill(redis_server.pid, signal.SIGKILL)
    until(lambda: not redis_server.running, "it is gone")
    with pytest.raises(ServiceError, match="is not running"):
        redis_server.kill()
    redis_server.start()
    with pytest.raises(ServiceError, match="is running already"):
        redis_server.start()


def test_a_server_outlives_the_thread_that_started_it() -> None:
    with RedisServer() as server:
        server.stop()
        thread = threading.Thread(target=server.start)
        thread.start()
        thread.join()
        with server.client() as client:
            assert client.ping()


#: A run of tests in the middle of its work: one of its servers is paused.
RUN = """
import signal
from tests.services import *
servers = [PostgresServer(in_memory=True), RedisServer()]
for server in servers:
    server.start()
    print(server.pid, server.folder, flush=True)
servers[0].pause()
print("paused", flush=True)
signal.pause()
"""


def test_no_server_survives_a_killed_run() -> None:
    with subprocess.Popen([sys.executable, "-c", RUN], cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        started = [run.stdout.readline().split() for _ in range(2)]
        assert run.stdout.readline() == "paused\n"
        servers = [psutil.Process(int(pid)) for pid, _ in started]
        processes = [*servers, *(child for server in servers for child in server.children())]
        assert len(processes) > 5
        run.kill()
    until(lambda: not [one for one in processes if one.is_running()], "all of them are gone", within=10)
    until(
        lambda: not [folder for _, folder in started if Path(folder).exists()], "the folders too", within=10
    )
    assert shared_memory_of(processes[0].pid) == []


def test_a_program_is_found_where_debian_puts_it_newest_version_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    here = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    assert find("postgres") == max(here, key=lambda path: float(path.parent.parent.name), default=None)


def test_what_cannot_be_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotInstalled, match=r"'no-such-program'.*apt-get install its-package"):
        require("no-such-program", "its-package")
