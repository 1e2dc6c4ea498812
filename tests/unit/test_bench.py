"""The benchmark's arithmetic, and its generator that does not wait for answers."""

from __future__ import annotations

import itertools
import socket
import threading
from collections import Counter
from contextlib import closing
from types import TracebackType
from typing import Self

import pytest
from bench.load import CONNECTIONS, ID, WARM_UP, Answers, Load, content_length, make_body, make_requests
from bench.openloop import Flow, moments
from bench.report import Spread, Variant
from bench.running.memory import slope
from bench.running.report import Sample, Series, Target, judge, table_of
from bench.running.steady import growth
from rich.console import Console

NEW = b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"duplicate":false}'
AGAIN = b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"duplicate":true}'
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
#: Sent much faster than anything can answer.
AT_ONCE = 1e9


class Holding:
    """A server that answers nothing until so many requests are in flight; from then on everything at once."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS)
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._held: list[socket.socket] = []
        self.received = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def _serve(self) -> None:
        """As many connections as the generator opens, each in a thread of its own."""
        for _ in range(CONNECTIONS):
            connection, _ = self._listener.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while head := b"".join(iter(stream.readline, b"\r\n")):
                stream.read(content_length(b"\r\n" + head))
                self._hold(connection)

    def _hold(self, connection: socket.socket) -> None:
        with self._lock:
            self.received += 1
            self._held.append(connection)
            if self.received >= self._wanted:
                for each in self._held:
                    each.sendall(NEW)
                self._held.clear()


def test_requests_leave_though_the_ones_before_are_not_answered() -> None:
    """A generator in closed loop would wait for ever at its first request; more than there are connections wait."""
    with Holding(CONNECTIONS) as server, closing(Flow([server.port])) as flow:
        answers = flow.send(make_requests(CONNECTIONS + 20, "run"), AT_ONCE)
    assert len(answers.seconds) == len(flow.late) == server.received == CONNECTIONS + 20
    assert not answers.wrong


def test_a_server_that_hangs_up_is_no_answer() -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS) as listener,
        closing(Flow([listener.getsockname()[1]])) as flow,
    ):
        for _ in range(CONNECTIONS):
            listener.accept()[0].close()
        with pytest.raises(ConnectionError):
            flow.send(make_requests(3, "run"), AT_ONCE)


def test_moments_are_random_around_the_rate() -> None:
    due = [at for at, _ in moments([b""] * 10_000, 100, began=5.0)]
    assert due == sorted(due)
    assert due[0] > 5.0
    assert due[-1] - 5.0 == pytest.approx(100, rel=0.1), "10,000 at 100 a second"


@pytest.mark.parametrize("size", [0, 3_000, 30_000])
def test_a_body_has_the_size_that_was_asked_for(size: int) -> None:
    body = make_body(size)
    assert ID in body
    assert len(body) == pytest.approx(size or 950, rel=0.15)


@pytest.mark.parametrize(("repeated", "repeats"), [(0.0, 0), (0.1, 10), (1.0, 100)])
def test_repetitions_repeat_what_was_sent_before_the_clock_started(repeated: float, repeats: int) -> None:
    early, timed = Load(100, repeated=repeated).make("run")
    assert len(early) == WARM_UP + repeats
    assert len(timed) == 100
    assert len(set(timed)) == 100, "nothing is sent twice against the clock"
    assert len(set(timed) & set(early)) == repeats
    assert Counter(early).most_common(1)[0][1] == 1


def test_repetitions_are_spread_over_the_run() -> None:
    early, timed = Load(100, repeated=0.1).make("run")
    places = [number for number, request in enumerate(timed) if request in set(early)]
    gaps = [after - before for before, after in itertools.pairwise(places)]
    assert set(gaps) == {10}


def test_answers_are_right_or_wrong_or_duplicates() -> None:
    answers = Answers()
    for answer in (NEW, AGAIN, AGAIN, REFUSED):
        answers.answer(answer, 0.1)
    assert answers.duplicates == 2
    assert answers.wrong == [REFUSED]
    answers.expect(2)
    assert len(answers.wrong) == 1
    answers.expect(3)
    assert answers.wrong[1:] == [b"2 answers say duplicate, expected 3"]


def test_a_slope_is_that_of_the_line_through_the_samples() -> None:
    assert slope([(0, 5), (1, 7), (2, 9)]) == pytest.approx(2)
    assert slope([(0, 5), (1, 5), (2, 5)]) == 0
    assert slope([(0, 4), (1, 6), (2, 4), (3, 6)]) == pytest.approx(0.4), "least squares"
    assert slope([(1, 5), (1, 6)]) == 0, "no time has passed"


def test_growth_leaves_out_the_warm_up() -> None:
    samples = [(second, 10.0 + second if second < 100 else 110.0) for second in range(301)]
    assert growth([(float(second), megabytes) for second, megabytes in samples])["growth"] == 0
    climbing = growth([(float(second), 100 + second / 10) for second in range(301)])
    assert climbing["hourly"] == pytest.approx(360)
    assert climbing["begin"] == pytest.approx(110)
    assert climbing["growth"] == pytest.approx(100 * 20 / 130)


def series(*targets: Target) -> Series:
    """Two variants in three rounds."""
    rounds = [(2.0, 1.0), (9.0, 3.0), (4.0, 1.0)]
    return Series(
        "title",
        (Variant("one", "none"), Variant("two", "none")),
        (),
        tuple((Sample(1, {"a": one}), Sample(1, {"a": two, "b": two + 1})) for one, two in rounds),
        targets,
    )


@pytest.mark.parametrize(
    ("target", "spread", "holds"),
    [
        (Target("alone", "one", "a", 4.0), (4, 2, 9), True),
        (Target("ratio", "one", "a", 2.9, "two"), (3, 2, 4), False),
        (Target("ratio at least", "one", "a", 2.9, "two", at_least=True), (3, 2, 4), True),
        (Target("difference", "one", "a", 2.0, "two", "b", minus=True), (2, 0, 5), True),
    ],
    ids=lambda value: value.text if isinstance(value, Target) else "",
)
def test_a_target_is_judged_by_the_median_of_its_rounds(
    target: Target, spread: tuple[float, float, float], holds: bool
) -> None:
    [verdict] = judge(series(target))
    assert verdict.spread == Spread(*spread)
    assert verdict.holds is holds
    assert verdict.line().startswith("holds: " if holds else "FALLS SHORT: ")


def test_a_table_shows_what_each_row_promises() -> None:
    console = Console(width=100)
    with console.capture() as captured:
        console.print(table_of(series(), "python -m bench half"))
    assert captured.get().count("(none)") == 2
