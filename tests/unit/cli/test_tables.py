"""Tables: ids are whole in every width, what matters less gives way."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from surehook.cli.tables import print_pairs, print_table
from surehook.clock import Millis
from surehook.ids import EVENT_PREFIX, typeid
from surehook.storage.sqlite import SqliteDatabase
from tests.builders import arrival
from tests.unit.cli.conftest import CommandLine, Fill

ID = "evt_01k8zq3w8kf5x9m2v4n6p7r8st"
COLUMNS = ("id", "received", "provider", "type", "state", "external id")
ROW = (ID, "2026-11-22 09:40:21.123Z", "shopify", "customer.subscription.deleted", "PROCESSED", "x" * 255)


def on_terminal(folder: Path, width: int, *arguments: str) -> list[str]:
    """What a command prints on a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    with subprocess.Popen(
        [sys.executable, "-m", "surehook", *arguments, "--no-color"],
        cwd=folder,
        env={**environment, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        text = read_all(ours)
    os.close(ours)
    return text.decode().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()


def read_all(descriptor: int) -> bytes:
    parts: list[bytes] = []
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # EIO: the terminal's other side is closed
            part = b""
        if not part:
            return b"".join(parts)
        parts.append(part)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_ids_of_a_list_are_whole_on_a_terminal(folder: Path, with_database: Fill, width: int) -> None:
    async def fill(database: SqliteDatabase) -> list[str]:
        now = Millis(await database.reader.database_time())
        given = [arrival(f"{n}" * 200, f"{n}".encode(), type="t" * 256, now=now) for n in range(2)]
        return [typeid(EVENT_PREFIX, one.id) for [one] in await database.storage.accept(given)]

    ids = with_database(fill)
    lines = on_terminal(folder, width, "events", "list")
    assert {line.split()[0] for line in lines if line.startswith("evt_")} == set(ids)
    table = [line for line in lines if not line.startswith("All events")]
    assert all(len(line) <= max(width, 80) for line in table), "it is as wide as the terminal"


def test_columns_give_way_one_after_another(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def heads(width: int) -> list[str]:
        monkeypatch.setattr("surehook.cli.tables._terminal_width", lambda: width)
        print_table(COLUMNS, [ROW], colour=False, empty="", spare=("external id", "received"))
        head, _, *lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith(ID + "  ")
        return head.split("  ")

    def names(width: int) -> set[str]:
        return {name.strip() for name in heads(width) if name.strip()}

    assert names(500) == set(COLUMNS)
    assert names(110) == set(COLUMNS)
    assert names(90) == set(COLUMNS) - {"external id"}
    assert names(80) == names(20) == set(COLUMNS) - {"external id", "received"}


def test_what_is_folded_is_not_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surehook.cli.tables._terminal_width", lambda: 40)
    print_pairs([("external id", "sha256:" + "a" * 64)], colour=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40
    shown = "".join(line.split()[-1] for line in lines)
    assert shown == "sha256:" + "a" * 64


def test_a_long_type_does_not_make_a_wide_table(surehook: CommandLine, with_database: Fill) -> None:
    async def fill(database: SqliteDatabase) -> None:
        now = Millis(await database.reader.database_time())
        await database.storage.accept([arrival("one", b"1", type="t" * 256, now=now)])

    with_database(fill)
    text = surehook("events", "list").stdout
    assert max(map(len, text.splitlines())) < 250
    assert "t" * 77 + "..." in text
