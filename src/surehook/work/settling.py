"""What becomes of an event after an attempt that did not complete it: functions of outcome, attempt and policy."""

from __future__ import annotations

import logging
from typing import assert_never

import msgspec

from surehook.clock import Millis, isoformat
from surehook.model import Claim, Failure, Settlement
from surehook.retry import RetryPolicy
from surehook.states import EventState, Reason
from surehook.work.execution import Crashed, Failed, Rejected, RetryAt

logger = logging.getLogger(__name__)

#: Wait before an attempt that somebody else's statement undid runs again, in milliseconds.
_AGAIN = 100


def settlement_of(claim: Claim, outcome: Failed, policy: RetryPolicy, now: Millis) -> Settlement:
    """RETRYING, or DEAD with its reason; ``policy`` is for handlers that have none of their own."""
    match outcome:
        case RetryAt():
            settlement = _after(claim, outcome.policy or policy, outcome.wish, now)
        case Crashed():
            settlement = _after(claim, outcome.policy or policy, None, now)
        case Rejected():
            settlement = _dead(claim, Reason.REJECTED, now)
        case _:
            assert_never(outcome)
    return msgspec.structs.replace(settlement, failure=outcome.failure)


def undone(claim: Claim, now: Millis) -> Settlement:
    """The attempt was undone by somebody else's: it counts for nothing and is repeated."""
    due_at = Millis(now + _AGAIN)
    return Settlement(claim.id, claim.token, EventState.RETRYING, now, due_at=due_at, uncount=True)


def abandoned(claim: Claim, now: Millis) -> Settlement:
    """Back to RECEIVED, the attempt not counted: it was broken off by a graceful stop."""
    return Settlement(claim.id, claim.token, EventState.RECEIVED, now, uncount=True)


def _after(claim: Claim, policy: RetryPolicy, wish: int | None, now: Millis) -> Settlement:
    due_at = policy.next_due(claim.attempt, now, wish=wish)
    if due_at is None:
        return _dead(claim, Reason.EXHAUSTED, now)
    return Settlement(claim.id, claim.token, EventState.RETRYING, now, due_at=due_at)


def _dead(claim: Claim, reason: Reason, now: Millis) -> Settlement:
    return Settlement(claim.id, claim.token, EventState.DEAD, now, reason=reason)


def log_failure(claim: Claim, settlement: Settlement, failure: Failure) -> None:
    """Say that an attempt has failed, and what follows."""
    dead = settlement.state is EventState.DEAD
    logger.log(
        logging.ERROR if dead else logging.WARNING,
        "attempt %d failed%s: %s: %s",
        claim.attempt,
        " and it is the last" if dead else "",
        failure.error_type,
        failure.message,
        extra={
            "event": f"worker.{settlement.state.lower()}",
            "due_at": None if settlement.due_at is None else isoformat(settlement.due_at),
            "reason": settlement.reason,
            "error.type": failure.error_type,
            "error.message": failure.message,
            "error.stack": failure.detail,
        },
    )
