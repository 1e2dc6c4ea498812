"""Log lines: whole, on one line, with their context; and traceparent."""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from surehook import telemetry
from surehook.telemetry import context, described, new_traceparent, parse_traceparent, trace_id_of

LOG = logging.getLogger("tests.telemetry")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Lines:
    """What was logged since, read back."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def text(self) -> str:
        for handler in logging.getLogger().handlers:
            handler.flush()
        return self.stream.getvalue()

    def one(self) -> dict[str, Any]:
        text = self.text()
        assert len(text.splitlines()) == 1
        found = json.loads(text)
        assert isinstance(found, dict)
        return found


def _remove_writers() -> None:
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, telemetry.StreamWriter)]:
        root.removeHandler(handler)
        handler.close()


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    level = logging.getLogger().level
    yield
    _remove_writers()
    logging.getLogger().setLevel(level)


@pytest.fixture
def lines() -> Lines:
    found = Lines()
    telemetry.configure("json", "INFO", found.stream)
    return found


@pytest.fixture
def plain() -> Lines:
    found = Lines()
    telemetry.configure("text", "INFO", found.stream)
    return found


def test_a_line_has_the_common_fields_in_order(lines: Lines) -> None:
    LOG.info("stored %d", 3, extra={"event": "ingest.accepted", "size": 10})
    line = lines.one()
    assert list(line) == ["timestamp", "level", "logger", "message", "event", "size"]
    assert line["timestamp"].endswith("Z")
    assert len(line["timestamp"]) == len("2026-11-22T08:00:00.000Z")
    assert (line["level"], line["logger"], line["message"]) == ("INFO", "tests.telemetry", "stored 3")


def test_lines_below_the_level_are_not_written(lines: Lines) -> None:
    LOG.debug("quiet")
    assert lines.text() == ""


def test_context_nests_ends_and_leaves_out_what_is_none(lines: Lines) -> None:
    with context(event_id="evt_1", provider="stripe", trace_id=None):
        with context(attempt=2, provider="github"):
            LOG.info("inner")
        LOG.info("outer")
    LOG.info("after")
    inner, outer, after = (json.loads(line) for line in lines.text().splitlines())
    assert {name: inner[name] for name in ("event_id", "provider", "attempt")} == {
        "event_id": "evt_1",
        "provider": "github",
        "attempt": 2,
    }
    assert "attempt" not in outer
    assert outer["provider"] == "stripe"
    assert "event_id" not in after
    assert "trace_id" not in inner


def test_fields_that_cost_something_are_made_for_the_first_line_only(lines: Lines) -> None:
    asked: list[str] = []

    def describe() -> dict[str, object]:
        asked.append("asked")
        return {"event_id": "evt_1", "trace_id": None}

    with context(slot=3), described(describe):
        assert asked == []
        LOG.info("first")
        with context(attempt=2):
            LOG.info("second")
    LOG.info("after")
    first, second, after = (json.loads(line) for line in lines.text().splitlines())
    assert (first["slot"], first["event_id"]) == (3, "evt_1")
    assert (second["slot"], second["event_id"], second["attempt"]) == (3, "evt_1", 2)
    assert not {"trace_id", "attempt"} & first.keys()
    assert "event_id" not in after
    assert asked == ["asked"]


async def test_context_reaches_tasks_and_threads_and_does_not_mix(lines: Lines) -> None:
    def in_thread() -> None:
        logging.getLogger("users.own").info("thread")

    async def handler(number: int) -> None:
        with context(event_id=f"evt_{number}"):
            await asyncio.sleep(0)
            await asyncio.to_thread(in_thread)
            await asyncio.create_task(child(number))

    async def child(number: int) -> None:
        await asyncio.sleep(0)
        logging.getLogger("users.own").info("task", extra={"number": number})

    await asyncio.gather(*(handler(number) for number in range(20)))
    found = [json.loads(line) for line in lines.text().splitlines()]
    tasks = [line for line in found if line["message"] == "task"]
    threads = sorted(line["event_id"] for line in found if line["message"] == "thread")
    assert all(line["event_id"] == f"evt_{line['number']}" for line in tasks)
    assert threads == sorted(f"evt_{number}" for number in range(20))


def test_a_plain_thread_has_no_context_of_others(lines: Lines) -> None:
    with context(event_id="evt_1"):
        thread = threading.Thread(target=LOG.info, args=("alone",))
        thread.start()
        thread.join()
    assert "event_id" not in lines.one()


def test_an_exception_becomes_three_fields(lines: Lines) -> None:
    try:
        raise ValueError("line one\nline two")
    except ValueError:
        LOG.exception("failed")
    line = lines.one()
    assert line["error.type"] == "builtins.ValueError"
    assert line["error.message"] == "line one\nline two"
    assert line["error.stack"].startswith("Traceback (most recent call last):\n")


HOSTILE = [
    "line\nbreak",
    "carriage\rreturn",
    "\x1b[2J\x1b]0;title\x07",
    "\u2028\u2029\x85\x0b\x0c\x1c",
    "\x9b31m",
    "\u202eright to left",
    "\ud800 alone",
    '", "level": "FORGED',
    "\x00",
    "😀 ütf",
]


@pytest.mark.parametrize("text", HOSTILE, ids=[ascii(text) for text in HOSTILE])
def test_no_text_breaks_a_json_line(lines: Lines, text: str) -> None:
    with context(external_id=text):
        LOG.info("got %s", text, extra={"header": text, text: "name"})
    raw = lines.text()
    assert raw.count("\n") == 1
    assert not telemetry._UNSAFE.search(raw[:-1])
    line = lines.one()
    wanted = text.encode("utf-8", "backslashreplace").decode()
    assert (line["header"], line["external_id"], line["message"]) == (wanted, wanted, f"got {wanted}")
    assert line["level"] == "INFO"


@pytest.mark.parametrize("text", HOSTILE, ids=[ascii(text) for text in HOSTILE])
def test_no_text_breaks_a_readable_line(plain: Lines, text: str) -> None:
    with context(external_id=text):
        LOG.info("got %s", text, extra={"header": text})
    raw = plain.text()
    assert len(raw.splitlines()) == 1
    assert not telemetry._UNSAFE.search(raw[:-1])


LOOP: list[Any] = []
LOOP.append(LOOP)
ODD = [
    object(),
    Broken(),
    LOOP,
    {1: 2},
    {(1, 2): 3},
    float("nan"),
    10**400,
    b"\xff",
    {"a": {"b", "c"}},
    Exception("x"),
]


@pytest.mark.parametrize("value", ODD, ids=[type(value).__name__ + str(i) for i, value in enumerate(ODD)])
@pytest.mark.parametrize("form", ["json", "text"])
def test_no_extra_breaks_a_line(form: Any, value: object) -> None:
    found = Lines()
    telemetry.configure(form, "INFO", found.stream)
    LOG.info("odd", extra={"value": value, "other": 1})
    text = found.text()
    assert len(text.splitlines()) == 1
    assert "other" in text
    if form == "json":
        assert json.loads(text)["message"] == "odd"


@pytest.mark.parametrize(("text", "argument"), [("%d things", "three"), ("%s", Broken()), ("no place", 1)])
def test_arguments_that_do_not_fit_are_told(text: str, argument: object) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, text, (argument,), None)
    assert (
        json.loads(telemetry.JsonFormatter().format(record))["message"]
        == f"{text} (its arguments do not fit it)"
    )


def test_an_exception_without_text_is_written(lines: Lines) -> None:
    class Mute(Exception):
        __str__ = Broken.__str__

    try:
        raise Mute
    except Mute:
        LOG.exception("failed")
    assert lines.one()["error.message"] == "<Mute that cannot be shown>"


def test_no_extra_takes_the_place_of_a_field(lines: Lines) -> None:
    with context(event_id="evt_true"):
        LOG.info("true", extra={"level": "FORGED", "event_id": "evt_forged", "timestamp": "x"})
    line = lines.one()
    assert (line["level"], line["event_id"], line["extra.event_id"]) == ("INFO", "evt_true", "evt_forged")


def test_a_readable_line_and_its_traceback(plain: Lines) -> None:
    try:
        raise ValueError("one\n2026-01-01 ERROR forged")
    except ValueError:
        with context(event_id="evt_1", type="a b"):
            LOG.exception("failed", extra={"quote": 'x" event_id="evt_2'})
    first, *rest = plain.text().splitlines()
    assert 'ERROR    tests.telemetry failed event_id=evt_1 type="a b" quote="x\\" event_id=\\"evt_2"' in first
    assert "\x1b" not in first
    assert rest[0] == "    | Traceback (most recent call last):"
    assert all(line.startswith("    | ") for line in rest)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("form", "stream", "no_color", "begin"),
    [
        ("auto", Terminal(), "", "\x1b[2m"),
        ("auto", Terminal(), "1", "2"),
        ("auto", io.StringIO(), "", "{"),
        ("json", Terminal(), "", "{"),
        ("text", io.StringIO(), "", "2"),
    ],
)
def test_the_form_follows_the_stream(
    form: Any, stream: io.StringIO, no_color: str, begin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    telemetry.configure(form, "INFO", stream)
    logging.getLogger().handlers[-1].handle(logging.LogRecord("x", logging.INFO, "", 0, "text", (), None))
    logging.getLogger().handlers[-1].flush()
    line = stream.getvalue()
    assert line.startswith(begin) or (begin == "2" and line[0].isdigit())


def test_configure_again_replaces_its_own_handler_only(lines: Lines) -> None:
    others = [each for each in logging.getLogger().handlers if not isinstance(each, telemetry.StreamWriter)]
    second = Lines()
    telemetry.configure("json", "WARNING", second.stream)
    LOG.warning("once")
    assert lines.text() == ""
    assert second.one()["message"] == "once"
    now = [each for each in logging.getLogger().handlers if not isinstance(each, telemetry.StreamWriter)]
    assert now == others


def test_a_closed_stream_stops_nothing(lines: Lines) -> None:
    lines.stream.close()
    LOG.info("into nowhere")
    for handler in logging.getLogger().handlers:
        handler.flush()


def test_a_stalled_reader_stops_nothing_and_hears_of_what_it_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "MAX_WAITING", 100)
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as stream:
        telemetry.configure("json", "INFO", stream)
        for number in range(2000):
            LOG.info("line %d", number)  # would wait for ever if it waited for the reader
        told = written = 0
        while told + written < 2000:
            line = json.loads(reader.readline())
            told += line.get("dropped", 0)
            written += "dropped" not in line
        assert line["event"] == "log.dropped"
        assert told > 1000
        _remove_writers()


PROGRAM = """
import logging, sys
from surehook import telemetry
telemetry.configure("json", "INFO", sys.stdout)
for number in range(1000):
    logging.info("line %d", number)
sys.stdin.readline()
for number in range(1000):
    logging.info("line %d", number)
    logging.getLogger().handlers[-1].flush()
"""


@pytest.mark.parametrize("reader", ["gone", "stalled"])
def test_a_process_ends_well_whoever_reads_its_log(reader: str) -> None:
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            PROGRAM if reader == "gone" else PROGRAM.split("sys.stdin", 1)[0].replace("1000", "9000"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        if reader == "gone":
            process.stdout.readline()
            process.stdout.close()
            process.stdin.write(b"\n")
            process.stdin.flush()
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == b""


def test_all_lines_are_written_before_the_process_ends() -> None:
    program = PROGRAM.split("sys.stdin", 1)[0]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert [json.loads(line)["message"] for line in done.stdout.splitlines()] == [
        f"line {n}" for n in range(1000)
    ]


def test_a_forked_child_logs_too(tmp_path: Any) -> None:
    file = tmp_path / "log"
    program = f"""
import logging, os
from surehook import telemetry
telemetry.configure("json", "INFO", open({str(file)!r}, "a"))
logging.info("parent")
if pid := os.fork():
    os.waitpid(pid, 0)
else:
    logging.info("child")
    logging.shutdown()
    os._exit(0)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=60)
    assert sorted(json.loads(line)["message"] for line in file.read_text().splitlines()) == [
        "child",
        "parent",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"00-{TRACE}-00f067aa0ba902b7",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"{PARENT}-more",
        f"{PARENT}\n",
        f" {PARENT}",
        f"00-{TRACE}-00f067aa0ba902b7-0x",
        f"01-{TRACE}-00f067aa0ba902b7-01more",
        f"00-{TRACE[:-1]}٣-00f067aa0ba902b7-01",
    ],
)
def test_what_is_no_traceparent_has_no_id(text: str) -> None:
    assert parse_traceparent(text) is None
    assert trace_id_of(text) is None


def test_the_id_of_a_trace_is_in_its_header() -> None:
    for text in (PARENT, f"01-{TRACE}-00f067aa0ba902b7-01-more"):
        assert trace_id_of(text) == TRACE


def test_new_traces_differ() -> None:
    assert len({trace_id_of(new_traceparent()) for _ in range(100)}) == 100
    assert trace_id_of(None) is None
