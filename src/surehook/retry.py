"""When a failed attempt is tried again: a pure function of the policy and the attempt."""

from __future__ import annotations

import random

import msgspec

from surehook.clock import Millis

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

#: Handler retries of DESIGN section 8: about two days in all.
HANDLER_DELAYS = (
    10 * SECOND,
    1 * MINUTE,
    5 * MINUTE,
    15 * MINUTE,
    1 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    24 * HOUR,
)

#: Message retries: the schedule that Svix and Standard Webhooks recommend.
MESSAGE_DELAYS = (5 * SECOND, 1 * MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR)

#: The longest wait that a receiver's ``Retry-After`` can ask for.
LONGEST_WISH = 24 * HOUR


class RetryPolicy(msgspec.Struct, frozen=True):
    """The waits between attempts, in milliseconds. ``len(delays) + 1`` attempts are made in all."""

    delays: tuple[int, ...] = HANDLER_DELAYS
    #: Each wait is spread evenly over ``1 - jitter .. 1 + jitter`` times its length, so that what failed together
    #: does not come back together.
    jitter: float = 0.2

    def next_due(self, attempt: int, now: Millis, *, wish: int | None = None) -> Millis | None:
        """When to try again after failed attempt number ``attempt`` (from 1), or None: give up.

        ``wish`` is a wait in milliseconds that the handler or the destination asked for; it replaces the policy's
        wait, without jitter, but never adds an attempt.
        """
        if attempt > len(self.delays):
            return None
        if wish is not None:
            return Millis(now + max(0, wish))
        delay = self.delays[attempt - 1]
        return Millis(now + round(delay * random.uniform(1 - self.jitter, 1 + self.jitter)))
