"""The store of fetched keys: how long it keeps, how often it fetches, and what it does when it cannot."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from tests.unit.packs.support import NOW

from surehook.clock import Millis
from surehook.packs import Fetched, Found, KeysNeeded, KeySource, KeyStore, KeysUnavailable
from surehook.secrets import Secret

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = Millis(0)


class Publisher:
    """Counts what is fetched; each fetch waits until ``open`` is set."""

    def __init__(self) -> None:
        self.fetched: Counter[str] = Counter()
        self.max_age: int | None = None
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def fetch(self, source: KeySource) -> Fetched:
        self.fetched[source.url] += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return Fetched(f"{source.url} {self.fetched[source.url]}".encode(), self.max_age)


def read(body: bytes) -> Found:
    return Found(body.decode())


def source(url: str = "https://a", part: str = "") -> KeySource:
    return KeySource(url, read, part=part)


def after(millis: int) -> Millis:
    return Millis(NOW + millis)


def missing(store: KeyStore, one: KeySource, now: Millis, since: Millis = START) -> bool:
    try:
        store.find(one, now, since)
    except KeysNeeded as needed:
        return (needed.source, needed.since) == (one, since)
    return False


async def test_what_was_fetched_is_kept_for_an_hour() -> None:
    publisher = Publisher()
    store = KeyStore(publisher.fetch)
    assert missing(store, source(), NOW)
    await store.fetch(source(), START, NOW)
    assert store.find(source(), after(HOUR - 1)) == "https://a 1"
    await store.fetch(source(), START, after(HOUR - 1))
    assert publisher.fetched.total() == 1
    assert missing(store, source(), after(HOUR))
    await store.fetch(source(), START, after(HOUR))
    assert store.find(source(), after(HOUR)) == "https://a 2"
    assert missing(store, source(part="b"), after(HOUR))


@pytest.mark.parametrize(
    ("max_age", "lifetime"), [(None, HOUR), (0, MINUTE), (600, 600_000), (10**9, DAY), (86_400, DAY)]
)
async def test_the_sender_says_how_long_within_bounds(max_age: int | None, lifetime: int) -> None:
    publisher = Publisher()
    publisher.max_age = max_age
    store = KeyStore(publisher.fetch)
    await store.fetch(source(), START, NOW)
    assert not missing(store, source(), after(lifetime - 1))
    assert missing(store, source(), after(lifetime))


@pytest.mark.parametrize(("until", "lifetime"), [(90 * DAY, 90 * DAY), (-DAY, MINUTE)])
async def test_what_has_an_end_of_its_own_is_kept_until_then(until: int, lifetime: int) -> None:
    publisher = Publisher()
    publisher.max_age = 10
    store = KeyStore(publisher.fetch)
    certificate = KeySource("https://a", lambda body: Found(body, after(until)))
    await store.fetch(certificate, START, NOW)
    assert not missing(store, certificate, after(lifetime - 1))
    assert missing(store, certificate, after(lifetime))


async def test_what_is_older_than_is_asked_for_is_fetched_again() -> None:
    publisher = Publisher()
    store = KeyStore(publisher.fetch)
    await store.fetch(source(), START, NOW)
    assert not missing(store, source(), NOW, NOW)
    assert missing(store, source(), after(1), after(1))
    await store.fetch(source(), after(1), after(1))
    assert store.find(source(), after(1), after(1)) == "https://a 2"


async def test_there_is_one_fetch_at_a_time_for_each_source() -> None:
    publisher = Publisher()
    publisher.open.clear()
    store = KeyStore(publisher.fetch)
    waiting = [asyncio.create_task(store.fetch(source(), START, NOW)) for _ in range(50)]
    other = asyncio.create_task(store.fetch(source("https://b"), START, NOW))
    await asyncio.sleep(0)
    waiting[0].cancel()
    publisher.open.set()
    results = await asyncio.gather(*waiting, other, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [None] * 50
    assert publisher.fetched == {"https://a": 1, "https://b": 1}


async def test_a_failure_is_told_to_all_who_wait_and_for_half_a_minute() -> None:
    publisher = Publisher()
    publisher.open.clear()
    publisher.error = OSError("no route")
    store = KeyStore(publisher.fetch)
    waiting = [asyncio.create_task(store.fetch(source(), START, NOW)) for _ in range(3)]
    await asyncio.sleep(0)
    publisher.open.set()
    for result in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(result, KeysUnavailable)
        assert str(result) == "no keys from https://a: no route"
    publisher.error = None
    with pytest.raises(KeysUnavailable, match="no route"):
        await store.fetch(source(), START, after(29_999))
    assert publisher.fetched.total() == 1
    await store.fetch(source(), START, after(30_000))
    assert store.find(source(), after(30_000)) == "https://a 2"


async def test_what_was_good_stays_good_when_something_newer_cannot_be_had() -> None:
    publisher = Publisher()
    store = KeyStore(publisher.fetch)
    await store.fetch(source(), START, NOW)
    publisher.error = TimeoutError()
    with pytest.raises(KeysUnavailable, match="TimeoutError"):
        await store.fetch(source(), after(1), after(1))
    assert store.find(source(), after(1)) == "https://a 1"


async def test_an_answer_that_holds_no_keys_is_a_failure() -> None:
    def refuse(body: bytes) -> Found:
        raise ValueError("it is no certificate")

    store = KeyStore(Publisher().fetch)
    with pytest.raises(KeysUnavailable, match="no certificate"):
        await store.fetch(KeySource("https://a", refuse), START, NOW)


async def test_ten_new_sources_a_minute_and_known_ones_always() -> None:
    publisher = Publisher()
    store = KeyStore(publisher.fetch)
    await store.fetch(source("https://known"), START, NOW)
    for number in range(10):
        await store.fetch(source(f"https://{number}"), START, after(6_000))
    with pytest.raises(KeysUnavailable, match="more than 10"):
        await store.fetch(source("https://10"), START, after(6_000))
    await store.fetch(source("https://known"), after(6_000), after(6_000))
    assert publisher.fetched["https://known"] == 2
    await store.fetch(source("https://10"), START, after(12_000))
    with pytest.raises(KeysUnavailable, match="more than 10"):
        await store.fetch(source("https://11"), START, after(12_000))


async def test_a_hundred_sources_are_remembered() -> None:
    store = KeyStore(Publisher().fetch)
    for number in range(101):
        await store.fetch(source(f"https://{number}"), START, after(number * 6_000))
    assert missing(store, source("https://0"), after(600_000))
    assert not missing(store, source("https://1"), after(600_000))


async def test_sources_that_have_no_keys_are_forgotten_first() -> None:
    store = KeyStore(Publisher().fetch)
    await store.fetch(source(), START, NOW)
    for number in range(1, 101):
        nothing = KeySource(f"https://{number}", lambda body: Found(None))
        await store.fetch(nothing, START, after(number * 6_000))
    assert not missing(store, source(), after(600_000))
    assert missing(store, KeySource("https://1", read), after(600_000))


async def test_where_nothing_can_fetch_there_are_no_keys() -> None:
    with pytest.raises(KeysUnavailable, match="nothing here can fetch"):
        await KeyStore().fetch(source(), START, NOW)


def test_what_is_posted_is_not_shown() -> None:
    one = KeySource("https://a", read, Secret("s3cret", "env:PLAID"))
    assert "s3cret" not in repr(one) + str(KeysNeeded(one, START))
