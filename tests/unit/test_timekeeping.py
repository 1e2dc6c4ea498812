"""The database's clock as a process reckons it: measured, never moved by one bad reading."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from surehook.clock import ManualClock, Millis, SteadyClock, SystemClock
from surehook.storage import Reader
from surehook.wiring.timekeeping import JUMP, SETTLING, SLOWEST, DatabaseClock, TimeReader

HOUR = 3_600_000
#: What two readings of the same clock may differ by on a busy machine.
CLOSE = 900


class Network:
    """The way to a database: each reading takes as long as told, there and back, and its clock may be set meanwhile."""

    def __init__(self, source: ManualClock, there: ManualClock) -> None:
        self._source = source
        self._there = there
        #: (milliseconds there, milliseconds back, by how much this machine's clock is set) of the next readings.
        self.journeys: list[tuple[int, int, int]] = []

    async def database_time(self) -> Millis:
        """The database's clock, when the question has reached it."""
        out, back, step = self.journeys.pop(0) if self.journeys else (0, 0, 0)
        self._pass(out)
        time = self._there.now()
        self._pass(back)
        self._source.advance(step)
        return time

    def _pass(self, milliseconds: int) -> None:
        self._source.advance(milliseconds)
        self._there.advance(milliseconds)


@pytest.fixture
def there() -> ManualClock:
    """The database's clock."""
    return ManualClock(1_790_000_000_000)


@pytest.fixture
def source() -> ManualClock:
    """This machine's clock: an hour behind the database's."""
    return ManualClock(1_790_000_000_000 - HOUR)


@pytest.fixture
def network(source: ManualClock, there: ManualClock) -> Network:
    return Network(source, there)


async def measured(clock: DatabaseClock, reader: TimeReader) -> DatabaseClock:
    await clock.measure(reader)
    return clock


def warnings(caplog: pytest.LogCaptureFixture) -> Sequence[str]:
    return [str(vars(record)["event"]) for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_clock_that_is_an_hour_off_is_set_by_the_database(reader: Reader) -> None:
    clock = await measured(DatabaseClock(SystemClock(-HOUR)), reader)
    assert abs(clock.now() - SystemClock().now()) < CLOSE
    ahead = await measured(DatabaseClock(SystemClock(HOUR)), reader)
    assert abs(ahead.now() - clock.now()) < CLOSE


async def test_a_clock_that_is_right_is_left_alone(reader: Reader) -> None:
    clock = DatabaseClock(SystemClock())
    for _ in range(3):
        await clock.measure(reader)
    assert clock.offset == 0


async def test_the_clock_of_a_file_follows_this_machine_at_once(reader: Reader) -> None:
    clock = await measured(DatabaseClock(SteadyClock()), reader)
    assert abs(clock.now() - SystemClock().now()) < CLOSE


async def test_the_reading_with_the_least_delay_counts(
    source: ManualClock, there: ManualClock, network: Network
) -> None:
    network.journeys = [(0, 400, 0), (900, 0, 0), (2, 2, 0), (300, 0, 0)]
    clock = await measured(DatabaseClock(source), network)
    assert clock.now() == there.now()


async def test_the_first_measurement_takes_slow_readings_when_there_are_no_others(
    source: ManualClock, there: ManualClock, network: Network
) -> None:
    network.journeys = [(3000, 0, 0), (0, 2000, 0), (1500, 1500, 0), (4000, 0, 0)]
    clock = await measured(DatabaseClock(source), network)
    assert abs(clock.now() - there.now()) <= 1000


async def test_slow_readings_move_nothing(
    source: ManualClock, there: ManualClock, network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    clock = await measured(DatabaseClock(source), network)
    network.journeys = [(SLOWEST + 1, 0, 0)] * 4
    await clock.measure(network)
    assert clock.offset == HOUR
    assert clock.now() == there.now()
    assert warnings(caplog) == ["clock.unmeasured"]


async def test_what_lies_within_the_delay_is_no_distance(source: ManualClock, network: Network) -> None:
    clock = await measured(DatabaseClock(source), network)
    network.journeys = [(500, 0, 0)] * 4  # looks like 250 ms, and is none
    await clock.measure(network)
    assert clock.offset == HOUR


async def test_drift_is_followed_without_a_word(
    source: ManualClock, there: ManualClock, network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    clock = await measured(DatabaseClock(source), network)
    there.advance(JUMP)
    await clock.measure(network)
    assert clock.now() == there.now()
    assert clock.settled
    assert warnings(caplog) == []


@pytest.mark.parametrize("step", [HOUR, -HOUR, JUMP + 1])
async def test_a_jump_is_followed_and_told(
    source: ManualClock, there: ManualClock, network: Network, caplog: pytest.LogCaptureFixture, step: int
) -> None:
    clock = await measured(DatabaseClock(source), network)
    there.advance(step)
    await clock.measure(network)
    assert clock.now() == there.now()
    assert warnings(caplog) == ["clock.jumped"]
    assert f"moved apart by {step} ms" in caplog.text


async def test_for_a_minute_after_a_jump_nothing_is_settled(
    source: ManualClock, there: ManualClock, network: Network
) -> None:
    clock = await measured(DatabaseClock(source), network)
    assert clock.settled, "the first measurement is no jump, whatever it finds"
    there.advance(HOUR)
    await clock.measure(network)
    assert not clock.settled
    source.advance(SETTLING - 1)
    assert not clock.settled
    source.advance(1)
    assert clock.settled


@pytest.mark.parametrize("step", [HOUR, -HOUR])
@pytest.mark.parametrize("reading", range(4))
async def test_a_clock_that_is_set_in_the_middle_of_a_reading_moves_nothing_by_that_reading(
    source: ManualClock, there: ManualClock, network: Network, reading: int, step: int
) -> None:
    clock = await measured(DatabaseClock(source), network)
    network.journeys = [(1, 1, 0)] * 4
    network.journeys[reading] = (1, 1, step)
    await clock.measure(network)
    wrong_by = abs(clock.now() - there.now())
    assert wrong_by in {0, HOUR}, "the offset is the old one or the new one, nothing in between"
    assert clock.offset in {HOUR, HOUR - step}
    await clock.measure(network)
    assert clock.now() == there.now()


async def test_a_clock_that_is_set_and_set_back_moves_nothing(source: ManualClock, network: Network) -> None:
    clock = await measured(DatabaseClock(source), network)
    network.journeys = [(0, 0, 0), (0, 0, HOUR), (0, 0, -HOUR), (0, 0, 0)]
    before = clock.now()
    await clock.measure(network)
    assert (clock.offset, clock.now()) == (HOUR, before)


async def test_one_bad_reading_of_a_fast_and_wrong_answer_moves_nothing(
    source: ManualClock, there: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Three readings are slower but right, one is quick and an hour wrong: another server behind the same address, say."""
    network = Network(source, there)
    clock = await measured(DatabaseClock(source), network)
    liar = Liar(network, there)
    network.journeys = [(5, 5, 0)] * 3
    await clock.measure(liar)
    assert clock.now() == there.now()
    assert warnings(caplog) == ["clock.disagreement"]


class Liar:
    """A way to two servers: one answer in four comes at once, from one whose clock is an hour ahead."""

    def __init__(self, network: Network, there: ManualClock) -> None:
        self._network = network
        self._there = there
        self._count = 0

    async def database_time(self) -> Millis:
        self._count += 1
        if self._count == 2:
            return Millis(self._there.now() + HOUR)
        return await self._network.database_time()


async def test_a_reader_that_fails_is_told_of_and_moves_nothing(
    source: ManualClock, network: Network
) -> None:
    clock = await measured(DatabaseClock(source), network)

    class Broken:
        async def database_time(self) -> Millis:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await clock.measure(Broken())
    assert clock.offset == HOUR


def test_a_steady_clock_begins_with_this_machines_time() -> None:
    clock = SteadyClock()
    times = [clock.now() for _ in range(1000)]
    assert times == sorted(times)
    assert abs(SystemClock().now() - clock.now()) < CLOSE
