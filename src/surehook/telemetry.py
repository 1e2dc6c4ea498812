"""Logs and trace context: one JSON object a line, or a readable line on a terminal.

Every line that is written inside ``context(event_id=...)`` carries those fields, also lines of users' own
``logging.getLogger(...)`` calls in handlers: the fields live in a context variable, which tasks and
``asyncio.to_thread`` copy.

Fields of a line: ``timestamp`` (RFC 3339, UTC, milliseconds), ``level``, ``logger``, ``message``, the context, what the
call gave as ``extra`` (Surehook's own lines name themselves with a stable dotted ``event``), and for an exception
``error.type``, ``error.message`` and ``error.stack``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar, Token
from types import MappingProxyType, TracebackType
from typing import Any, Final, Literal, TextIO

import msgspec

from surehook.clock import isoformat
from surehook.entropy import random_bytes

#: Lines that may wait for a slow reader of the log; beyond it the newest are dropped and counted.
MAX_WAITING: Final = 10_000
#: How long the end of the process waits for lines to be written, in seconds.
CLOSE_TIMEOUT: Final = 1.0

_context: ContextVar[Mapping[str, Any]] = ContextVar("surehook_log_context", default=MappingProxyType({}))

#: What a LogRecord always has; anything else on it came as ``extra``.
_OWN: Final = frozenset(
    {*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "message", "asctime", "taskName", "color_message"}
)
_COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
#: Whatever could end a line, move a terminal's cursor or turn the direction of text around.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_QUOTED: Final = re.compile(r'[\s"=]|^$')


class _Described(Mapping[str, Any]):
    """Fields that are made when a line is written, which most attempts never do."""

    __slots__ = ("_describe", "_fields", "_outer")

    def __init__(self, outer: Mapping[str, Any], describe: Callable[[], Mapping[str, object]]) -> None:
        self._outer = outer
        self._describe = describe
        self._fields: Mapping[str, Any] | None = None

    def _made(self) -> Mapping[str, Any]:
        if self._fields is None:
            given = {name: value for name, value in self._describe().items() if value is not None}
            self._fields = {**self._outer, **given}
        return self._fields

    def __getitem__(self, name: str) -> Any:
        return self._made()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made())

    def __len__(self) -> int:
        return len(self._made())


class described:  # noqa: N801 - used like a function: with described(...)
    """Add fields to every log line written inside; fields that are None are left out.

    ``describe`` is called when the first line is written, if any is.
    """

    __slots__ = ("_describe", "_token")

    def __init__(self, describe: Callable[[], Mapping[str, object]]) -> None:
        self._describe = describe
        self._token: Token[Mapping[str, Any]] | None = None

    def __enter__(self) -> None:
        self._token = _context.set(_Described(_context.get(), self._describe))

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _context.reset(self._token)


class context(described):  # noqa: N801 - as above
    """As ``described``, for fields that are there already."""

    __slots__ = ()

    def __init__(self, **fields: object) -> None:
        super().__init__(lambda: fields)


def describe(fields: Callable[[], Mapping[str, object]]) -> None:
    """As ``described``, for the rest of the task: its context ends with it."""
    _context.set(_Described(_context.get(), fields))


def current_context() -> Mapping[str, Any]:
    """The fields that a line written here would carry."""
    return _context.get()


def configure(format: Literal["auto", "text", "json"], level: str, stream: TextIO) -> None:
    """Send all logging of this process to ``stream``; calling it again replaces what it set up before.

    ``auto`` is text on a terminal and JSON elsewhere. Colours are left out when NO_COLOR is set.
    """
    terminal = stream.isatty()
    plain = format == "text" or (format == "auto" and terminal)
    formatter = (
        TextFormatter(colour=terminal and not os.environ.get("NO_COLOR")) if plain else JsonFormatter()
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, StreamWriter)]:
        root.removeHandler(handler)
        handler.close()
    writer = StreamWriter(stream)
    writer.setFormatter(formatter)
    root.addHandler(writer)
    root.setLevel(level)
    # it tells of each lost connection and each statement that failed in a pipeline; who asked is told as well
    logging.getLogger("psycopg").setLevel(logging.ERROR)


class StreamWriter(logging.Handler):
    """Writes lines from a thread of its own, so that a reader that stalls or goes away never stops the process.

    Lines are formatted where they are logged (with the context of that place); the thread writes all that wait at once.
    Measured with JSON lines into a pipe: 13 us a call in a burst, where a plain StreamHandler takes 16; a lone line costs
    30 us more. With a full pipe the calls go on, where a StreamHandler would stop ingest for as long as nobody reads.

    It writes to the stream's file descriptor, past its buffer: a thread that hangs inside the buffer would abort the
    interpreter when it ends.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: deque[str] = deque()
        self._wake = threading.Condition()
        self._dropped = 0
        self._busy = False
        self._ending = False
        self._thread: threading.Thread | None = None
        os.register_at_fork(after_in_child=self._forked)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one line. Never raises, never waits."""
        line = self.format(record)
        with self._wake:
            if self._ending:
                return
            if len(self._lines) >= MAX_WAITING:
                self._dropped += 1
                return
            self._lines.append(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="surehook-log", daemon=True)
                self._thread.start()
            elif not self._busy:
                self._wake.notify_all()

    def flush(self) -> None:
        """Wait until all is written, but not longer than CLOSE_TIMEOUT."""
        with self._wake:
            self._wake.wait_for(lambda: not self._lines and not self._busy, CLOSE_TIMEOUT)

    def close(self) -> None:
        """Write what waits, then end the thread."""
        self.flush()
        with self._wake:
            self._ending = True
            self._wake.notify_all()
        super().close()

    def _forked(self) -> None:
        """A forked child has neither the thread nor, maybe, a free lock; the parent writes what waited."""
        self._wake = threading.Condition()
        self._lines.clear()
        self._busy = False
        self._thread = None

    def _run(self) -> None:
        while lines := self._take():
            # Gone (EPIPE), closed, or a disk that is full: a log that cannot be written is no reason to stop.
            with contextlib.suppress(OSError, ValueError):
                self._write("\n".join(lines) + "\n")

    def _write(self, text: str) -> None:
        try:
            descriptor = self._stream.fileno()
        except OSError:  # io.UnsupportedOperation: a stream in memory
            self._stream.write(text)
            return
        data = memoryview(text.encode())
        while data:
            try:
                data = data[os.write(descriptor, data) :]
            except BlockingIOError:  # somebody made the pipe non-blocking
                select.select([], [descriptor], [])

    def _take(self) -> list[str]:
        with self._wake:
            self._busy = False
            self._wake.notify_all()
            self._wake.wait_for(lambda: self._lines or self._ending)
            lines = list(self._lines)
            self._lines.clear()
            if lines and self._dropped:
                lines.append(self._dropped_line())
            self._busy = bool(lines)
            return lines

    def _dropped_line(self) -> str:
        count, self._dropped = self._dropped, 0
        text = "%d log lines were dropped: whoever reads the log is too slow"
        record = logging.LogRecord("surehook.telemetry", logging.WARNING, "", 0, text, (count,), None)
        record.event, record.dropped = "log.dropped", count
        return self.format(record)


class JsonFormatter(logging.Formatter):
    """One JSON object. No value can break it or the line."""

    def format(self, record: logging.LogRecord) -> str:
        """The object, with what is unsafe in a log written as JSON escapes."""
        fields = {
            "timestamp": _timestamp(record),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        return _UNSAFE.sub(_json_escape, _encode(_with_details(fields, record)))


class TextFormatter(logging.Formatter):
    """``time level logger message field=value``, and below it, indented, the traceback of an exception."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """The line; unsafe characters are shown as escapes."""
        details = _with_details({}, record)
        stack = str(details.pop("error.stack", ""))
        shown = " ".join(f"{printable(_text(name))}={_value_text(value)}" for name, value in details.items())
        parts = (
            self._paint("2", _timestamp(record)[11:-1]),
            self._paint(_COLOURS.get(record.levelname, "0"), f"{record.levelname:<8}"),
            self._paint("36", printable(record.name)),
            printable(_message(record)),
            self._paint("2", shown) if shown else "",
        )
        lines = [f"    | {printable(line)}" for line in stack.split("\n") if line]
        return "\n".join([" ".join(part for part in parts if part), *lines])

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


def _timestamp(record: logging.LogRecord) -> str:
    return isoformat(int(record.created * 1000))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - the arguments of a user's call can do anything in their __str__
        return f"{_text(record.msg)} (its arguments do not fit it)"


def _with_details(fields: dict[str, Any], record: logging.LogRecord) -> dict[str, Any]:
    """Add context, extras and error; a name that is taken keeps its value, the later one becomes ``extra.NAME``."""
    extras = {name: value for name, value in vars(record).items() if name not in _OWN}
    if "event" in extras:
        fields["event"] = extras.pop("event")
    fields.update({name: value for name, value in _context.get().items() if name not in fields})
    for name, value in extras.items():
        fields[name if name not in fields else f"extra.{name}"] = value
    if record.exc_info and record.exc_info[0] is not None:
        fields.update(_error(*record.exc_info))
    if record.stack_info:
        fields["stack"] = record.stack_info
    return fields


def _error(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> dict[str, str]:
    try:
        stack = "".join(traceback.format_exception(kind, error, trace))
    except Exception:  # noqa: BLE001 - an exception's __str__ or __notes__ can be broken as well
        stack = "".join(traceback.format_tb(trace))
    return {
        "error.type": f"{kind.__module__}.{kind.__qualname__}",
        "error.message": _text(error),
        "error.stack": stack,
    }


def _encode(fields: Mapping[str, Any]) -> str:
    try:
        return msgspec.json.encode(fields, enc_hook=_text).decode()
    except Exception:  # noqa: BLE001 - lone surrogates, odd keys, loops, broken objects: whatever a user logs
        return msgspec.json.encode({_clean(name): _clean(value) for name, value in fields.items()}).decode()


def _clean(value: Any) -> str:
    return _text(value).encode("utf-8", "backslashreplace").decode()


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - see _encode
        return f"<{type(value).__name__} that cannot be shown>"


def _value_text(value: Any) -> str:
    text = _text(value)
    if _QUOTED.search(text):
        text = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return printable(text)


def _json_escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def printable(text: str) -> str:
    """A text that moves no cursor and ends no line: control and direction characters are shown as escapes."""
    return _UNSAFE.sub(_visible, text)


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    return {9: "\\t", 10: "\\n", 13: "\\r"}.get(code) or (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    )


_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Traceparent(msgspec.Struct, frozen=True):
    """The fields of a W3C ``traceparent`` header (https://www.w3.org/TR/trace-context/, level 1)."""

    trace_id: str
    parent_id: str
    flags: str = "01"

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.parent_id}-{self.flags}"


def parse_traceparent(text: str) -> Traceparent | None:
    """The fields of a header, or None where the specification says to start a new trace.

    Strict: lower case, no zero ids, version ff refused, version 00 exactly 55 characters; of later versions the part
    that is known is read.
    """
    found = _TRACEPARENT.fullmatch(text)
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not trace_id.strip("0") or not parent_id.strip("0"):
        return None
    return Traceparent(trace_id, parent_id, flags)


def new_traceparent() -> str:
    """The header of a trace that starts here."""
    text = random_bytes(24).hex()
    trace_id, parent_id = text[:32], text[32:]
    if trace_id.strip("0") and parent_id.strip("0"):
        return f"00-{trace_id}-{parent_id}-01"
    return new_traceparent()  # an id of zeros is invalid


def trace_id_of(text: str | None) -> str | None:
    """The trace id in a header, or None."""
    found = parse_traceparent(text) if text else None
    return found.trace_id if found else None
