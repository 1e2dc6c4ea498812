"""Every error that Surehook raises on purpose.

::

    SurehookError
      + ConfigurationError      the settings or the application are wrong: mend them, start again
      + InvalidRequest          the caller asked for something that cannot be: usage, a 4xx
      |   - NotFound            no such event, message or provider
      + Unavailable             not now: the same call may succeed later, a 503
      |   - Overloaded          a bound was reached before anything was stored
      |   - CommitUnknown       the commit may or may not have happened
      |   - TurnLost            it was rolled back because of somebody else's statement
      + SchemaMismatch          the database belongs to another version of Surehook: stop
      + LeaseLost               another worker owns the row now: write nothing
      + TransactionError        a handler used its transaction in a way that cannot work
      + Retry, Reject           raised by handlers: what to do with the event
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SurehookError(Exception):
    """The base of all of them. The message says what happened and what to do."""


class ConfigurationError(SurehookError):
    """The settings or the application cannot work as they are."""


class InvalidRequest(SurehookError):
    """What was asked for is not possible; asking again changes nothing."""


class NotFound(InvalidRequest):
    """Nothing has this id or name."""


class Unavailable(SurehookError):
    """The database cannot do it now. Nothing was promised; the same call may succeed later."""


class Overloaded(Unavailable):
    """More waits already than the bound allows; nothing was stored."""


class CommitUnknown(Unavailable):
    """The commit failed or timed out, so it may or may not have happened: look again by the key."""


class TurnLost(Unavailable):
    """What shared a commit with it made the database roll back; nothing was written, and it can run again at once."""


class SchemaMismatch(SurehookError):
    """The database's schema is not the one this version works with."""


class LeaseLost(SurehookError):
    """The row was given to another worker meanwhile; nothing was written."""


class TransactionError(SurehookError):
    """The transaction of a handler cannot be used (so): see the message."""


class Retry(SurehookError):
    """Raised by a handler: run this event again later.

    ``after`` is in seconds, counted from the end of the attempt; without it the retry policy decides. The attempt
    counts like any failed one: when the policy's attempts are used up the event is DEAD.
    """

    def __init__(self, message: str = "the handler asked for a retry", *, after: float | None = None) -> None:
        if after is not None and not 0 <= after <= 30 * 86_400:
            raise ValueError(f"Retry(after={after!r}): give seconds, from 0 to 30 days")
        super().__init__(message)
        self.after = after


class Reject(SurehookError):
    """Raised by a handler: no retry can help; the event is DEAD at once, with this reason."""

    def __init__(self, why: str) -> None:
        super().__init__(why)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant, or None."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return near[0] if near else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint to end an error message with: the nearest known name, or the list of them."""
    names = sorted(known)
    near = nearest(name, names)
    if near:
        return f"Did you mean {near!r}?"
    return f"Known: {', '.join(names)}." if names else "There is none yet."
