"""What a queue does while its server fails: say so once, wait longer and longer, say once that it works again."""

from __future__ import annotations

import logging
import random
import time
from typing import Final

logger = logging.getLogger(__name__)

#: Seconds between two lines of a tally.
_REPORT_EVERY: Final = 60.0


class Outage:
    """One thing that can fail, its log lines and the pauses between tries."""

    def __init__(
        self, what: str, *, first: float = 0.2, longest: float = 10.0, level: int = logging.WARNING
    ) -> None:
        """``what`` begins both log lines. Pauses grow from ``first`` to ``longest`` seconds, each shortened by chance."""
        self._what = what
        self._first = first
        self._longest = longest
        self._level = level
        self._failures = 0
        self._pause = 0.0
        self._retry_at = 0.0
        self._worked_at = 0.0
        #: Whether the last try failed.
        self.lasts = False

    def failed(self, why: object) -> None:
        """A try failed; the first one of an outage is logged."""
        now = time.monotonic()
        if not self.lasts:
            # what fails again soon after it worked has never been well: the pauses go on growing
            if now - self._worked_at > self._pause:
                self._failures = 0
            text = str(why).strip().partition("\n")[0] or type(why).__name__
            extra = {"event": "queue.failing"}
            logger.log(
                self._level, "%s fails, so polls find the work meanwhile: %s", self._what, text, extra=extra
            )
        self.lasts = True
        self._pause = min(self._longest, self._first * 2 ** min(self._failures, 16)) * random.uniform(0.5, 1)
        self._failures += 1
        self._retry_at = now + self._pause

    def worked(self) -> None:
        """A try succeeded; the first one after an outage is logged."""
        if not self.lasts:
            return
        self.lasts = False
        self._worked_at = time.monotonic()
        logger.info("%s works again", self._what, extra={"event": "queue.recovered"})

    @property
    def rest(self) -> float:
        """Seconds until the next try is due; 0 when nothing has failed."""
        return max(0.0, self._retry_at - time.monotonic()) if self.lasts else 0.0


class Tally:
    """Counts what is worth a line in the log, but not a line each."""

    def __init__(self, text: str, event: str) -> None:
        """``text`` has one place, for the number."""
        self._text = text
        self._event = event
        self._count = 0
        self._report_at = 0.0

    def add(self, count: int) -> None:
        """So many more; logged at once the first time, then at most once a minute."""
        self._count += count
        if count and time.monotonic() >= self._report_at:
            logger.warning(self._text, self._count, extra={"event": self._event})
            self._count = 0
            self._report_at = time.monotonic() + _REPORT_EVERY
