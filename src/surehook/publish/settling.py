"""What becomes of a message after a try: a pure function of the outcome, the attempt and the policy."""

from __future__ import annotations

from typing import assert_never

import msgspec

from surehook.clock import Millis
from surehook.model import MessageClaim, MessageSettlement
from surehook.publish import Delivered, Failed, Outcome
from surehook.retry import RetryPolicy
from surehook.states import MessageState, Reason


def settlement_of(
    claim: MessageClaim, outcome: Outcome, retries: RetryPolicy, now: Millis, worker: str
) -> MessageSettlement:
    """SENT, RETRYING, or DEAD with its reason; ``worker`` is noted in the failure."""
    match outcome:
        case Delivered():
            return MessageSettlement(claim.id, claim.token, MessageState.SENT, now)
        case Failed():
            failed = _after_failure(claim, outcome, retries, now)
            failure = msgspec.structs.replace(outcome.failure, worker=worker)
            return msgspec.structs.replace(failed, failure=failure)
        case _:
            assert_never(outcome)


def abandoned(claim: MessageClaim, now: Millis) -> MessageSettlement:
    """Back to PENDING, the try not counted: it was broken off by a graceful stop."""
    return MessageSettlement(claim.id, claim.token, MessageState.PENDING, now, uncount=True)


def _after_failure(
    claim: MessageClaim, outcome: Failed, retries: RetryPolicy, now: Millis
) -> MessageSettlement:
    if outcome.permanent:
        return _dead(claim, Reason.REJECTED, now)
    due_at = retries.next_due(claim.attempt, now)
    if due_at is None:
        return _dead(claim, Reason.EXHAUSTED, now)
    # A destination can ask for a longer wait only: one that says "in 1 s" to a thousand messages would otherwise use
    # up their attempts within seconds.
    due_at = max(due_at, Millis(now + (outcome.retry_after_ms or 0)))
    return MessageSettlement(claim.id, claim.token, MessageState.RETRYING, now, due_at=due_at)


def _dead(claim: MessageClaim, reason: Reason, now: Millis) -> MessageSettlement:
    return MessageSettlement(claim.id, claim.token, MessageState.DEAD, now, reason=reason)
