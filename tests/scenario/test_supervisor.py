"""``surehook run --processes N``: a parent that keeps N processes, whatever happens to them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.scenario.supervised import Supervised
from tests.scenario.waiting import wait_until
from tests.scenario.webhooks import Webhook, order

TWO_INGEST = ("--role", "ingest", "--processes", "2")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Supervised]:
    folder = tmp_path / "installation"
    folder.mkdir()
    installation = Supervised(folder, {})
    try:
        yield installation
    finally:
        await installation.kill_all()
        sys.stdout.write(installation.logs())  # pytest shows it when the test fails


class Clients:
    """Posts over a new connection each time and counts how it ends: a status, or the name of an error."""

    def __init__(self, server: Supervised) -> None:
        self._url = f"{server.url}/webhooks/acme"
        self.ends: Counter[str] = Counter()
        self.stored: set[str] = set()

    async def post(self, webhook: Webhook) -> bool:
        """Try once; whether it was acknowledged."""
        try:
            async with self._session.post(self._url, data=webhook.body, headers=webhook.headers()) as answer:
                await answer.read()
                end = str(answer.status)
        except (aiohttp.ClientError, OSError) as error:
            end = type(error).__name__
        self.ends[end] += 1
        if end == "200":
            self.stored.add(webhook.external_id)
        return end == "200"

    async def keep_posting(self, name: str, stop: asyncio.Event) -> None:
        """One webhook after the other, each until it is acknowledged."""
        number = 0
        while not stop.is_set():
            webhook = order(f"{name}-{number}")
            while not await self.post(webhook):
                await asyncio.sleep(0.01)
            number += 1

    async def __aenter__(self) -> Clients:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True), timeout=aiohttp.ClientTimeout(total=20)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()


@contextlib.asynccontextmanager
async def load(server: Supervised, count: int) -> AsyncIterator[Clients]:
    """So many clients that post all the time; all that they began is acknowledged at the end."""
    stop = asyncio.Event()
    async with Clients(server) as clients, asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(clients.keep_posting(f"c{number}", stop))
        await wait_until(lambda: clients.ends["200"] > count, "the load has begun")
        try:
            yield clients
        finally:
            stop.set()


async def test_two_processes_answer_on_one_port(server: Supervised) -> None:
    await server.supervise(*TWO_INGEST)
    one, other = server.children()
    for paused in (one, other):
        paused.suspend()
        assert [await server.status("/livez") for _ in range(20)] == [200] * 20
        paused.resume()
    assert {line["slot"] for line in server.lines("node.started")} == {0, 1}
    assert len(server.lines("supervisor.sqlite")) == 1


async def test_what_waits_to_be_accepted_survives_a_kill(server: Supervised) -> None:
    await server.supervise(*TWO_INGEST)
    one, other = server.children()
    one.suspend()
    other.suspend()
    async with Clients(server) as clients, asyncio.TaskGroup() as group:
        posts = [group.create_task(clients.post(order(f"o-{number}"))) for number in range(50)]
        await wait_until(lambda: established(server.port) == 50, "all are connected and wait")
        one.send_signal(signal.SIGKILL)
        other.resume()
        await asyncio.gather(*posts)
    assert clients.ends == {"200": 50}


async def test_kill_9_under_load_breaks_only_what_is_in_flight(server: Supervised) -> None:
    await server.supervise(*TWO_INGEST)
    clients_at_once, kills = 20, 3
    async with load(server, clients_at_once) as clients:
        for _ in range(kills):
            victim = random.choice(server.children())
            victim.send_signal(signal.SIGKILL)
            await server.replaced(victim)

    broken = {name: count for name, count in clients.ends.items() if name != "200"}
    assert "ClientConnectorError" not in broken, "the port was never closed"
    assert sum(broken.values()) <= kills * clients_at_once
    rows = server.database.query("SELECT external_id FROM inbox_events")
    assert {row[0] for row in rows} == clients.stored
    ended = server.lines("supervisor.ended")
    assert [line["message"].partition("(")[2].partition(")")[0] for line in ended] == [
        "killed by SIGKILL"
    ] * kills
    server.signal(signal.SIGTERM)
    assert await server.ended() == 0


async def test_a_stopped_process_is_killed_and_replaced(server: Supervised) -> None:
    await server.supervise(*TWO_INGEST, "--stall-timeout", "3s")
    one, other = server.children()
    one.suspend()
    new = await server.replaced(one)
    assert server.slot(new) == 0
    assert [line["pid"] for line in server.lines("supervisor.stalled")] == [one.pid]
    assert other in server.children()
    assert await server.stop() == 0


async def test_a_process_with_a_blocked_loop_is_killed(server: Supervised) -> None:
    append(
        server,
        "@app.on('acme', 'order.stuck')\nasync def stuck(event: Event) -> None:\n    time.sleep(600)\n",
    )
    roles = ("--role", "ingest", "--role", "worker")
    await server.supervise(*roles, "--processes", "2", "--stall-timeout", "3s")
    async with Clients(server) as clients:
        assert await clients.post(order("o-1", "order.stuck"))
    await wait_until(lambda: server.lines("supervisor.stalled"), "it is found")
    await wait_until(lambda: server.lines("supervisor.ended"), "it is killed")
    assert "stalled" in server.lines("supervisor.ended")[0]["message"]


async def test_a_pause_of_the_whole_machine_is_not_blamed_on_the_processes(server: Supervised) -> None:
    await server.supervise(*TWO_INGEST, "--stall-timeout", "3s")
    before = server.children()
    everything = [psutil.Process(server.running.pid), *before]
    for process in everything:
        process.suspend()
    await asyncio.sleep(5)  # it is time itself that passes here
    for process in everything:
        process.resume()
    before[0].send_signal(signal.SIGKILL)
    await server.replaced(before[0])
    assert before[1] in server.children()
    assert server.lines("supervisor.stalled") == []


async def test_sigterm_drains_all(server: Supervised) -> None:
    await server.supervise(*TWO_INGEST)
    requests = [await HalfRequest.begin(server, f"o-{number}") for number in range(8)]
    server.signal(signal.SIGTERM)
    await wait_until(lambda: refuses(server.port), "nothing listens any more")
    answers = [await request.finish() for request in requests]
    assert all(b"HTTP/1.1 200" in answer for answer in answers), answers
    assert await server.ended() == 0
    assert server.leftovers() == []
    assert len(server.lines("node.stopped")) == 2


async def test_a_second_signal_kills_all(server: Supervised) -> None:
    await server.supervise(*TWO_INGEST)
    request = await HalfRequest.begin(server, "o-1")
    server.signal(signal.SIGINT)
    await wait_until(lambda: refuses(server.port), "nothing listens any more")
    server.signal(signal.SIGINT)
    assert await server.ended(within=5) == 1
    assert server.leftovers() == []
    assert await request.finish() == b""


async def test_a_process_that_does_not_end_is_killed_in_the_end(server: Supervised) -> None:
    await server.supervise(*TWO_INGEST, "--stall-timeout", "3s")
    server.children()[0].suspend()
    assert await server.stop() == 1
    assert server.leftovers() == []


async def test_processes_end_by_themselves_when_their_parent_is_killed(server: Supervised) -> None:
    await server.supervise(*TWO_INGEST)
    children = server.children()
    request = await HalfRequest.begin(server, "o-1")
    server.running.kill()
    await wait_until(lambda: len(server.lines("slot.orphaned")) == 2, "they notice")
    assert b"HTTP/1.1 200" in await request.finish()
    await wait_until(lambda: server.leftovers() == [], "they end")
    assert refuses(server.port)
    assert {line["pid"] for line in server.lines("node.stopped")} == {child.pid for child in children}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"server": {"prt": 1}}, "Did you mean 'port'?"),
        ({"app": "nothing:app"}, "there is no module 'nothing'"),
        ({"providers": {"acme": {"secrets": ["env:NOWHERE"]}}}, "NOWHERE"),
    ],
)
async def test_a_wrong_configuration_is_one_error(
    server: Supervised, change: dict[str, object], message: str
) -> None:
    server.configure(**change)
    finished = await server.command("run", *TWO_INGEST)
    assert finished.code == 2
    assert finished.err.count("Error:") == 1
    assert message in finished.err
    assert "supervisor." not in finished.err.replace("supervisor.sqlite", "")


@pytest.mark.parametrize(("role", "section"), [("ingest", "server"), ("console", "console")])
async def test_a_port_in_use_is_one_error(server: Supervised, role: str, section: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server.configure(**{section: {"port": port}})
        finished = await server.command("run", "--role", role, "--processes", "2")
    assert finished.code == 2
    assert [line for line in finished.err.splitlines() if "in use" in line] == [
        f"Error: 127.0.0.1:{port} is in use: stop what listens there, or set another "
        f"[{section}] port (SUREHOOK_{section.upper()}__PORT)"
    ]
    assert not (server.folder / "surehook.db").exists()


async def test_a_schema_that_is_not_current_is_one_error(server: Supervised) -> None:
    finished = await server.command("run", *TWO_INGEST, "--no-migrate")
    assert finished.code == 1
    assert finished.err.count("Error:") == 1
    assert "surehook migrate up" in finished.err


async def test_processes_that_crash_at_start_are_started_ever_later(server: Supervised) -> None:
    append(server, "@app.setup\nasync def crash(tx: Transaction) -> None:\n    os._exit(3)\n")
    await server.supervise("--role", "worker", "--processes", "2", until_ready=False)

    def waits() -> list[str]:
        lines = [line for line in server.lines("supervisor.ended") if line["slot"] == 0]
        return [line["message"].rpartition("(exit code 3); it is started again in ")[2] for line in lines]

    await wait_until(lambda: len(waits()) >= 4, "it was started four times")
    assert waits()[:4] == ["0.1 s", "0.2 s", "0.4 s", "0.8 s"]
    assert await server.stop() == 0


async def test_processes_that_refuse_their_configuration_end_it_all(server: Supervised) -> None:
    append(
        server,
        "import sys\nif '--no-migrate' in sys.argv:  # so it is a process under the parent\n    raise OSError('no')\n",
    )
    finished = await server.command("run", *TWO_INGEST)
    assert finished.code == 2
    assert 1 <= finished.err.count("Error: app = 'application:app' cannot be imported") <= 2
    assert '"event":"supervisor.refused"' in finished.err


async def test_a_configuration_that_is_broken_later_ends_nothing(server: Supervised) -> None:
    await server.supervise(*TWO_INGEST)
    one, other = server.children()
    file = server.folder / "surehook.toml"
    good = file.read_text()
    file.write_text("nonsense")
    one.send_signal(signal.SIGKILL)
    await wait_until(lambda: len(server.lines("supervisor.ended")) >= 3, "new ones fail")
    assert await server.status("/readyz") == 200
    file.write_text(good)
    await server.replaced(one)
    assert other in server.children()


async def test_sighup_replaces_one_after_the_other(server: Supervised) -> None:
    await server.supervise(*TWO_INGEST)
    before = {child.pid for child in server.children()}
    async with load(server, 10) as clients:
        server.signal(signal.SIGHUP)
        await wait_until(lambda: server.lines("supervisor.replaced"), "they are replaced")
    assert set(clients.ends) == {"200"}
    after = {child.pid for child in server.children()}
    assert len(after) == 2
    assert not after & before
    assert server.lines("supervisor.ended") == []


async def test_sighup_with_a_broken_configuration_changes_nothing(server: Supervised) -> None:
    await server.supervise(*TWO_INGEST)
    before = server.children()
    (server.folder / "surehook.toml").write_text("nonsense")
    server.signal(signal.SIGHUP)
    await wait_until(lambda: server.lines("supervisor.not_replaced"), "it is told")
    assert server.children() == before
    assert await server.status("/readyz") == 200
    assert await server.stop() == 0


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_service_manager_is_told(server: Supervised, tmp_path: Path, processes: int) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.setblocking(False)
        manager.bind(str(tmp_path / "notify"))
        heard: list[str] = []
        told = Supervised(
            server.folder, {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        )
        server.port, server.url = told.port, told.url

        def hear() -> list[str]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    heard.append(manager.recv(100).decode().strip())
            return heard

        await told.supervise("--role", "ingest", "--processes", str(processes), until_ready=False)
        try:
            await wait_until(lambda: "READY=1" in hear(), "it says that it is ready")
            heard.clear()
            await wait_until(lambda: len(hear()) > 3, "it says that it is alive")
            assert set(heard) == {"WATCHDOG=1"}
            assert await told.status("/readyz") == 200
            assert await told.stop() == 0
        finally:
            await told.kill_all()
        assert set(hear()) == {"WATCHDOG=1", "STOPPING=1"}
        assert heard.count("STOPPING=1") == 1


class HalfRequest:
    """A request that is on its way: its server has begun to read it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rest: bytes) -> None:
        self._reader = reader
        self._writer = writer
        self._rest = rest

    @classmethod
    async def begin(cls, server: Supervised, external_id: str) -> HalfRequest:
        webhook = order(external_id)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        lines = [
            "POST /webhooks/acme HTTP/1.1",
            "Host: scenario",
            f"Content-Length: {len(webhook.body)}",
            "Expect: 100-continue",
            *(f"{name}: {value}" for name, value in webhook.headers().items()),
        ]
        writer.write("\r\n".join([*lines, "\r\n"]).encode())
        assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
        return cls(reader, writer, webhook.body)

    async def finish(self) -> bytes:
        self._writer.write(self._rest)
        async with asyncio.timeout(10):
            answer = await self._reader.read()
        self._writer.close()
        await self._writer.wait_closed()
        return answer


def append(server: Supervised, text: str) -> None:
    """Add to the application."""
    with (server.folder / "application.py").open("a") as file:
        file.write(f"\n\n{text}")


def established(port: int) -> int:
    """How many connections of this process's own lead to a port."""
    ours = psutil.Process().net_connections("tcp")
    return sum(each.status == "ESTABLISHED" and bool(each.raddr) and each.raddr.port == port for each in ours)


def refuses(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
