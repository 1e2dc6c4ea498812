"""What becomes of a message after a try."""

from __future__ import annotations

from typing import Any

import pytest

from surehook.clock import Millis
from surehook.ids import MessageId
from surehook.model import MessageClaim
from surehook.publish import Delivered, Failed, Outcome
from surehook.publish.settling import abandoned, settlement_of
from surehook.retry import HOUR, RetryPolicy
from surehook.states import MESSAGE_MOVES, MessageState, Reason
from tests.builders import failure

NOW = Millis(1_790_000_000_000)
POLICY = RetryPolicy((5_000, 60_000), jitter=0)


def claim(attempt: int = 1) -> MessageClaim:
    return MessageClaim(
        id=MessageId(bytes(16)),
        token=7,
        attempt=attempt,
        lost_leases=0,
        destination="ledger",
        type="t",
        subject=None,
        order_key=None,
        body=b"{}",
        created_at=NOW,
        traceparent=None,
    )


def failed(**changes: Any) -> Failed:
    return Failed(failure(), **changes)


def test_a_delivered_message_is_sent() -> None:
    settlement = settlement_of(claim(), Delivered(), POLICY, NOW, "here")
    assert (settlement.state, settlement.token, settlement.at) == (MessageState.SENT, 7, NOW)
    assert settlement.failure is None


@pytest.mark.parametrize(("attempt", "wait"), [(1, 5_000), (2, 60_000)])
def test_a_failed_try_is_repeated_by_the_policy(attempt: int, wait: int) -> None:
    settlement = settlement_of(claim(attempt), failed(), POLICY, NOW, "here")
    assert (settlement.state, settlement.due_at) == (MessageState.RETRYING, NOW + wait)
    assert settlement.reason is None
    assert settlement.failure is not None
    assert settlement.failure.worker == "here"


def test_after_the_last_attempt_a_message_is_dead() -> None:
    settlement = settlement_of(claim(3), failed(retry_after_ms=HOUR), POLICY, NOW, "here")
    assert (settlement.state, settlement.reason) == (MessageState.DEAD, Reason.EXHAUSTED)
    assert settlement.due_at is None
    assert settlement.failure is not None


def test_what_the_destination_will_never_want_is_dead_at_once() -> None:
    settlement = settlement_of(claim(), failed(permanent=True), POLICY, NOW, "here")
    assert (settlement.state, settlement.reason) == (MessageState.DEAD, Reason.REJECTED)
    assert settlement.failure is not None


@pytest.mark.parametrize(
    ("wish", "wait"), [(90_000, 90_000), (24 * HOUR, 24 * HOUR), (1_000, 5_000), (0, 5_000)]
)
def test_a_destination_can_lengthen_the_wait_and_not_shorten_it(wish: int, wait: int) -> None:
    settlement = settlement_of(claim(), failed(retry_after_ms=wish), POLICY, NOW, "here")
    assert settlement.due_at == NOW + wait


def test_what_was_broken_off_is_given_back_uncounted() -> None:
    settlement = abandoned(claim(), NOW)
    assert (settlement.state, settlement.uncount, settlement.token) == (MessageState.PENDING, True, 7)
    assert settlement.failure is None


def test_every_settlement_is_an_allowed_move() -> None:
    outcomes: list[Outcome] = [Delivered(), failed(), failed(permanent=True)]
    states = {settlement_of(claim(n), o, POLICY, NOW, "").state for n in (1, 3) for o in outcomes}
    assert states | {abandoned(claim(), NOW).state} == MESSAGE_MOVES[MessageState.SENDING]
