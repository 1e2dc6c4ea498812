"""The log of refused requests, over the real database."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
from tests.unit.ingest.http_support import until

from surehook.clock import Millis
from surehook.config import RejectionSettings
from surehook.errors import Unavailable
from surehook.ingest.rejections import RejectionLog, harmless
from surehook.model import Rejection, RowFilter
from surehook.states import Reason
from surehook.storage.sqlite import SqliteReader, SqliteStorage

NOW = 1_790_000_000_000


def rejection(number: int, at: int = NOW) -> Rejection:
    return Rejection(
        provider="acme",
        topic="orders",
        reason=Reason.BAD_SIGNATURE,
        detail=f"number {number}",
        headers=(("user-agent", "test"),),
        body_sha256=bytes(32),
        body_size=3,
        received_at=Millis(at),
        remote="192.0.2.7",
    )


async def details(reader: SqliteReader) -> set[str]:
    return {each.rejection.detail for each in await reader.rejections(RowFilter(limit=1000))}


async def test_what_is_noted_is_written(storage: SqliteStorage, reader: SqliteReader) -> None:
    log = RejectionLog(storage, RejectionSettings())
    log.start()
    log.note(rejection(1))
    await log.close()
    assert [each.rejection for each in await reader.rejections(RowFilter())] == [rejection(1)]
    assert log.dropped == 0


async def test_a_flood_is_sampled_and_the_rest_counted(
    storage: SqliteStorage, reader: SqliteReader, caplog: pytest.LogCaptureFixture
) -> None:
    log = RejectionLog(storage, RejectionSettings(per_second=10))
    log.start()
    with caplog.at_level(logging.WARNING):
        for number in range(25):
            log.note(rejection(number))  # all in one millisecond: one second's worth is kept
        for number in range(25, 35):
            log.note(rejection(number, NOW + 500))  # half a second later there is room for five
        await log.close()
    assert await details(reader) == {f"number {number}" for number in [*range(10), *range(25, 30)]}
    assert log.dropped == 20
    reported = [int(record.args[0]) for record in caplog.records if isinstance(record.args, tuple)]  # type: ignore[call-overload]  # our own numbers
    assert sum(reported) == 20
    assert len(reported) == 2  # the first at once, the rest together


async def test_a_clock_that_goes_back_gives_nothing_and_breaks_nothing(
    storage: SqliteStorage, reader: SqliteReader
) -> None:
    log = RejectionLog(storage, RejectionSettings(per_second=1))
    log.start()
    log.note(rejection(1, NOW))
    log.note(rejection(2, NOW - 60_000))
    log.note(rejection(3, NOW - 59_000))
    await log.close()
    assert await details(reader) == {"number 1", "number 3"}


async def test_only_the_newest_rows_stay(storage: SqliteStorage, reader: SqliteReader) -> None:
    log = RejectionLog(storage, RejectionSettings(keep=3, per_second=1000))
    log.start()
    for number in range(6):
        log.note(rejection(number, NOW + number))
        await until(lambda: not log.waiting)
    await log.close()
    assert await details(reader) == {"number 3", "number 4", "number 5"}


class Failing:
    """A database that is not there."""

    def __init__(self, storage: SqliteStorage) -> None:
        self.storage = storage
        self.error: Exception | None = Unavailable("the disk is full")

    async def reject(self, rejections: Sequence[Rejection], *, keep: int) -> None:
        if self.error is not None:
            raise self.error
        await self.storage.reject(rejections, keep=keep)


@pytest.mark.parametrize("error", [Unavailable("the disk is full"), ZeroDivisionError("a bug")])
async def test_a_database_in_trouble_costs_rejections_and_nothing_else(
    storage: SqliteStorage, reader: SqliteReader, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    failing = Failing(storage)
    failing.error = error
    log = RejectionLog(failing, RejectionSettings())
    log.start()
    log.note(rejection(1))
    await until(lambda: log.dropped == 1)
    assert str(error) in caplog.text
    failing.error = None
    log.note(rejection(2))
    await log.close()
    assert await details(reader) == {"number 2"}


def test_headers_that_may_hold_a_credential_are_not_kept() -> None:
    given = (
        ("host", "hooks.example"),
        ("authorization", "Basic eDp5"),
        ("cookie", "a=b"),
        ("x-gitlab-token", "hunter2"),
        ("x-gitlab-event", "Push Hook"),
        ("x-api-key", "hunter2"),
        ("x-session-id", "hunter2"),
        ("x-hub-signature-256", "sha256=00"),
        ("webhook-id", "msg_1"),
    )
    assert [name for name, _ in harmless(given)] == ["host", "x-gitlab-event", "webhook-id"]
