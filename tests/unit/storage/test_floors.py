"""Where a claim begins to look, and that nothing stays unseen below."""

from __future__ import annotations

import asyncio

import pytest

from surehook.clock import Millis
from surehook.ids import EventId
from surehook.storage.postgres import PostgresDatabase
from surehook.storage.postgres.floors import EVERYTHING, MARGIN, Floor
from tests.builders import NOW, action, arrival, settlement

LEASE = 60_000
HOUR = 3_600_000


class Search:
    """A floor on a clock that is set by hand, and what each search was told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.floor = Floor(lambda: self.now)

    async def __call__(self, head: int | None, seconds: float = 0.0) -> int:
        """Where it began; it takes so long, and finds rows that were due since ``head``."""

        async def claim(since: Millis) -> tuple[list[Millis], Millis | None]:
            self.now += seconds
            return [since], None if head is None else Millis(head)

        [since] = await self.floor.search(claim)
        return since


async def test_it_begins_a_little_before_the_last_find_and_now_and_then_at_the_beginning() -> None:
    search = Search()
    assert await search(NOW) == 0
    assert await search(None) == NOW - MARGIN
    assert await search(NOW + 5) == NOW - MARGIN
    search.now += EVERYTHING - 0.1
    assert await search(None) == NOW + 5 - MARGIN
    search.now += 0.1
    assert await search(NOW - HOUR) == 0
    assert await search(None) == NOW - HOUR - MARGIN  # of what came late there may be more


async def test_an_expensive_search_of_everything_is_made_less_often() -> None:
    search = Search()
    await search(NOW, seconds=2.0)
    search.now += 30.0
    assert await search(NOW) == NOW - MARGIN
    search.now += 10.0
    assert await search(NOW) == 0


async def test_a_search_that_fails_is_not_repeated_at_once() -> None:
    search = Search()

    async def fail(since: Millis) -> tuple[list[Millis], None]:
        raise TimeoutError(since)

    with pytest.raises(TimeoutError):
        await search.floor.search(fail)
    await search(NOW)
    assert await search(None) == NOW - MARGIN


# on a server


async def claimed(database: PostgresDatabase, limit: int = 100, now: int = NOW) -> list[str]:
    claims = await database.storage.claim(limit, Millis(now), Millis(now + LEASE))
    return [claim.external_id for claim in claims]


async def test_what_came_late_by_less_than_the_margin_is_found_at_once(
    server_database: PostgresDatabase,
) -> None:
    await server_database.storage.accept([arrival("now", b"1")])
    assert await claimed(server_database) == ["now"]
    await server_database.storage.accept([arrival("late", b"2", now=Millis(NOW - MARGIN))])
    assert await claimed(server_database) == ["late"]


async def test_what_came_late_by_more_is_found_within_seconds_and_then_in_order(
    server_database: PostgresDatabase,
) -> None:
    """An ingest process whose clock runs an hour behind."""
    loop = asyncio.get_running_loop()
    await server_database.storage.accept([arrival("now", b"1")])
    assert await claimed(server_database) == ["now"]
    late = [arrival(f"late{n}", b"%d" % n, now=Millis(NOW - HOUR + n * 60_000)) for n in range(50)]
    fresh = [arrival(f"fresh{n}", b"f%d" % n, now=Millis(NOW + n)) for n in range(50)]
    await server_database.storage.accept([*late, *fresh])
    begun = loop.time()
    found: list[str] = []
    while len(found) < 100:
        found += await claimed(server_database, 2, NOW + 1_000)
        assert loop.time() - begun < EVERYTHING + 15.0
        await asyncio.sleep(0.03)
    first = found.index("late0")
    then = [name for name in found[first:] if name.startswith("late")]
    assert found[first : first + 50] == then, "once one is found, the longest due come first again"
    assert sorted(found) == sorted(each.events[0].external_id for each in [*late, *fresh])


async def test_what_people_and_sweeps_put_back_is_found_at_once(server_database: PostgresDatabase) -> None:
    storage = server_database.storage
    for name in ("replayed", "hurried", "rescued", "given back", "taken back"):
        await storage.accept([arrival(name, name.encode())])
    claims = {each.external_id: each for each in await storage.claim(9, NOW, Millis(NOW + LEASE))}
    later = Millis(NOW + HOUR)
    await storage.settle(
        [
            settlement(claims["replayed"]),
            settlement(claims["hurried"], "RETRYING", due_at=Millis(NOW + 24 * HOUR)),
            settlement(claims["given back"], "RECEIVED", later),
            settlement(claims["taken back"], "IGNORED"),
        ]
    )
    await storage.accept([arrival("new", b"new", now=later)])
    assert sorted(await claimed(server_database, now=later)) == [
        "given back",
        "new",
    ]  # the floor is an hour on
    ids = {name: EventId(claim.id) for name, claim in claims.items()}
    await storage.replay_events([ids["replayed"], ids["hurried"]], action(later))
    await storage.take_back([ids["taken back"]], later)
    await storage.rescue(later, poison_after=3)
    assert sorted(await claimed(server_database, now=later)) == [
        "hurried",
        "replayed",
        "rescued",
        "taken back",
    ]
