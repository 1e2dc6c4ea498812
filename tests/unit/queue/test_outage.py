"""An outage is one line at its begin and one at its end, and the pauses in it grow."""

from __future__ import annotations

import logging

import pytest

from surehook.queue.outage import Outage, Tally


@pytest.fixture(autouse=True)
def all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="surehook")


def test_one_line_when_it_begins_and_one_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage("the queue")
    outage.worked()
    for _ in range(5):
        outage.failed(OSError("connection refused\nand a second line"))
    for _ in range(5):
        outage.worked()
    assert [record.getMessage() for record in caplog.records] == [
        "the queue fails, so polls find the work meanwhile: connection refused",
        "the queue works again",
    ]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_an_error_without_words_is_named(caplog: pytest.LogCaptureFixture) -> None:
    Outage("the queue").failed(TimeoutError())
    assert caplog.messages == ["the queue fails, so polls find the work meanwhile: TimeoutError"]


def test_pauses_grow_up_to_a_bound() -> None:
    outage = Outage("the queue", first=10, longest=1_000)
    assert outage.rest == 0
    for step in range(30):
        outage.failed("again")
        longest = min(1_000, 10 * 2**step)
        assert longest / 2 - 1 < outage.rest <= longest
    outage.worked()
    assert outage.rest == 0


def test_what_fails_again_soon_has_not_been_well() -> None:
    outage = Outage("the queue", first=100, longest=10_000)
    for _ in range(3):
        outage.failed("again")
        outage.worked()
    outage.failed("again")
    assert outage.rest > 399


def test_what_was_well_for_longer_than_the_last_pause_begins_anew() -> None:
    outage = Outage("the queue", first=1e-7, longest=10)
    for _ in range(20):
        outage.failed("again")
        outage.worked()  # its log line alone takes longer than the pause
    outage.failed("again")
    assert outage.rest < 1e-3, "twenty doublings would have made it some milliseconds"


def test_a_tally_is_logged_at_once_and_then_gathered(caplog: pytest.LogCaptureFixture) -> None:
    tally = Tally("%d were dropped", "queue.dropped")
    for count in (0, 3, 4, 5):
        tally.add(count)
    assert caplog.messages == ["3 were dropped"]
