"""The parts of the supervisor: waits, sockets, reports, the leash, the command of a process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import click.testing
import pytest

from surehook.cli import main
from surehook.cli.run import command_of
from surehook.errors import ConfigurationError
from surehook.ingest.listening import Address
from surehook.wiring.supervision import Slot, take_slot, to_systemd
from surehook.wiring.supervision.keeper import FIRST, LAST, WELL, Backoff
from surehook.wiring.supervision.report import ALIVE, READY
from surehook.wiring.supervision.slot import VARIABLE


def test_the_wait_doubles_up_to_its_end_and_begins_again_after_a_good_run() -> None:
    backoff = Backoff()
    waits = [backoff.after(0.5) for _ in range(12)]
    assert waits[:4] == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST]
    assert waits[-2:] == [LAST, LAST]
    assert backoff.after(WELL - 1) == LAST
    assert [backoff.after(WELL), backoff.after(0)] == [FIRST, 2 * FIRST]


def test_every_address_of_a_host_gets_a_socket_with_the_same_port() -> None:
    sockets = Address("", 0).bind()
    try:
        assert len({each.getsockname()[1] for each in sockets}) == 1
        assert {each.family for each in sockets} >= {socket.AF_INET}
    finally:
        for each in sockets:
            each.close()


def test_ipv6_can_be_bound() -> None:
    [sock] = Address("::1", 0).bind()
    with sock:
        Address("::1", 0).listen([sock])
        with socket.create_connection(("::1", sock.getsockname()[1])):
            pass


def test_a_bound_port_does_not_listen_yet() -> None:
    [sock] = Address("127.0.0.1", 0).bind()
    with sock, pytest.raises(ConnectionRefusedError):
        socket.create_connection(sock.getsockname())


def test_a_port_that_is_taken_between_bind_and_listen_is_told() -> None:
    [one] = Address("127.0.0.1", 0).bind()
    with one:
        address = Address("127.0.0.1", one.getsockname()[1], "console")
        [other] = address.bind()
        with other:
            one.listen()
            with pytest.raises(ConfigurationError, match=r"is in use.*SUREHOOK_CONSOLE__PORT"):
                address.listen([other])


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("192.0.2.1", "cannot listen on 192.0.2.1"),
        ("no.such.host.invalid", "Check host and port in .server."),
    ],
)
def test_an_address_that_cannot_be_had_is_told(host: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Address(host, 0).bind()


def test_what_a_slot_says_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = socket.socketpair()
    with here, there, socket.socket() as port:
        slot = Slot(3, there.fileno(), {"server": [port.fileno()]})
        for name, value in slot.environment().items():
            monkeypatch.setenv(name, value)
        for descriptor in slot.descriptors():
            os.set_inheritable(descriptor, True)
        assert take_slot(os.environ) == slot
        assert VARIABLE not in os.environ
        assert not any(map(os.get_inheritable, slot.descriptors()))
        assert take_slot(os.environ) is None


def test_no_service_manager_no_words() -> None:
    report = to_systemd({})
    report.tell(READY)
    report.close()


@pytest.mark.parametrize("abstract", [True, False])
def test_the_words_reach_the_service_manager(tmp_path: Path, abstract: bool) -> None:
    if abstract and sys.platform != "linux":
        return  # only Linux has such addresses
    name = f"@surehook-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1) if abstract else name)
        report = to_systemd({"NOTIFY_SOCKET": name})
        report.tell(READY)
        report.tell(ALIVE)
        assert [manager.recv(100), manager.recv(100)] == [b"READY=1\n", b"WATCHDOG=1\n"]
        report.close()


def test_a_service_manager_that_is_gone_harms_nobody(tmp_path: Path) -> None:
    report = to_systemd({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    report.tell(READY)
    report.close()


@pytest.mark.parametrize(
    ("environment", "every"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "9" * 5000}, None),
    ],
)
async def test_the_watchdog_of_this_process_is_fed_twice_in_its_time(
    tmp_path: Path, environment: dict[str, str], every: float | None
) -> None:
    report = to_systemd({"NOTIFY_SOCKET": str(tmp_path / "notify"), **environment})
    assert report.every == every
    report.close()


ORPHAN = """
import signal, sys, time
from surehook.wiring.supervision import Slot
from surehook.wiring.supervision import slot
slot.GRACE = 0.5
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
report = Slot(0, int(sys.argv[1]), {}).hold(1)  # kept: its end would close the socket that ties the two
print("held", flush=True)
while True:
    time.sleep(0.01)
"""


@pytest.mark.parametrize("text", ["", "{", "[]", '{"number":"x"}', "no supervisor"])
def test_a_slot_that_no_supervisor_has_set_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"_SUREHOOK_SLOT is set, .* unset it"):
        take_slot({"_SUREHOOK_SLOT": text})


def test_an_orphan_that_does_not_end_is_ended_by_force() -> None:
    here, there = socket.socketpair()
    with here, there:
        command = [sys.executable, "-c", ORPHAN, str(there.fileno())]
        process = subprocess.Popen(
            command, pass_fds=[there.fileno()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        there.close()
        with process:
            assert process.stdout
            assert process.stdout.readline() == "held\n"
            assert process.poll() is None
            here.close()
            out, err = process.communicate(timeout=30)
    assert out == "asked\n"
    assert process.returncode == 1
    assert 'File "<string>"' in err, "it tells where it hung"


def test_a_process_is_started_as_its_parent_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/anywhere/surehook/__main__.py"])
    assert command_of(["run"]) == [sys.executable, "-m", "surehook", "run"]
    monkeypatch.setattr(sys, "argv", ["/anywhere/bin/surehook"])
    assert command_of(["run"]) == [sys.executable, "-P", "-m", "surehook", "run"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--processes", "0"], "1<=x<=64"),
        (["--processes", "65"], "1<=x<=64"),
        (["--processes", "two"], "not a valid integer"),
        (["--processes", "2", "--stall-timeout", "soon"], 'expected a duration such as "200ms"'),
        (["--processes", "2", "--stall-timeout", "500ms"], "at least 2s"),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], message: str) -> None:
    result = click.testing.CliRunner().invoke(main, ["run", *arguments])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
