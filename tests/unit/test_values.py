"""Ids, retry policy, clock: the small pure parts."""

from __future__ import annotations

import random
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surehook.clock import ManualClock, Millis, SystemClock, isoformat
from surehook.ids import parse_typeid, typeid, uuid7
from surehook.retry import HANDLER_DELAYS, MESSAGE_DELAYS, RetryPolicy
from tests.builders import NOW


@given(st.integers(0, 2**48 - 1))
def test_an_id_is_a_uuid_of_version_7_with_its_time(now: int) -> None:
    found = uuid.UUID(bytes=uuid7(now))
    assert found.version == 7
    assert found.variant == uuid.RFC_4122
    assert found.int >> 80 == now


def test_ids_differ_and_sort_by_time() -> None:
    ids = [uuid7(NOW + number // 100) for number in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert [id[:6] for id in ids] == sorted(id[:6] for id in ids)


@given(st.binary(min_size=16, max_size=16), st.sampled_from(["evt", "msg"]))
def test_a_typeid_round_trips_and_sorts_like_its_bytes(id: bytes, prefix: str) -> None:
    text = typeid(prefix, id)
    assert parse_typeid(prefix, text) == id
    assert len(text) == 30
    assert (typeid(prefix, b"\0" * 16) <= text) is True


def test_a_typeid_is_the_specifications() -> None:
    """The example of the TypeID specification."""
    id = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057").bytes
    assert typeid("prefix", id) == "prefix_01h455vb4pex5vsknk084sn02q"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "evt_",
        "msg_01h455vb4pex5vsknk084sn02q",
        "evt_81h455vb4pex5vsknk084sn02q",
        "evt_01h455vb4pex5vsknk084sn02",
        "evt_01h455vb4pex5vsknk084sn02u",
        "evt_01H455VB4PEX5VSKNK084SN02Q",
        "01890a5d-ac96-774b-bcce-b302099a8057",
    ],
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"evt_|no id"):
        parse_typeid("evt", text)


@pytest.mark.parametrize("delays", [HANDLER_DELAYS, MESSAGE_DELAYS])
def test_the_policy_spreads_each_wait_by_its_jitter_and_then_gives_up(delays: tuple[int, ...]) -> None:
    policy = RetryPolicy(delays)
    for attempt, delay in enumerate(delays, 1):
        waits = []
        for _ in range(200):
            due = policy.next_due(attempt, NOW)
            assert due is not None
            waits.append(due - NOW)
        assert delay * 0.8 <= min(waits) < delay * 0.9 < delay * 1.1 < max(waits) <= delay * 1.2
    assert policy.next_due(len(delays) + 1, NOW) is None


@given(attempt=st.integers(1, 20), wish=st.integers(-5, 10**9), count=st.integers(0, 10))
def test_a_wish_replaces_the_wait_but_adds_no_attempt(attempt: int, wish: int, count: int) -> None:
    due = RetryPolicy((random.randrange(1, 1000),) * count).next_due(attempt, NOW, wish=wish)
    if attempt > count:
        assert due is None
    else:
        assert due == NOW + max(0, wish)


def test_clocks() -> None:
    clock = ManualClock(5)
    clock.advance(7)
    assert clock.now() == 12
    assert abs(SystemClock(3_600_000).now() - SystemClock().now() - 3_600_000) < 60_000
    assert isoformat(Millis(1_790_000_000_123)) == "2026-09-21T14:13:20.123Z"
