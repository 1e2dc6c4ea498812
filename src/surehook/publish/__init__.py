"""The transport seam: how messages leave for one destination. Every transport fulfils it, word by word.

``tests/contract/test_transport.py`` is its proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from surehook.model import Failure, MessageClaim


class Delivered(msgspec.Struct, frozen=True):
    """The destination has proved that it has the message."""


class Failed(msgspec.Struct, frozen=True):
    """The destination may or may not have the message; it has not proved that it does."""

    failure: Failure
    #: The wait before the next try that the destination asked for, in milliseconds, from 0 to 24 hours.
    retry_after_ms: int | None = None
    #: The destination will never want this message: no other try is made.
    permanent: bool = False


Outcome = Delivered | Failed


class Transport(Protocol):
    """Sends to one destination. It keeps no messages and knows nothing of states, leases and retries."""

    @property
    def batch(self) -> int:
        """How many messages one ``send`` is best given; 1 where each travels, and fails, on its own."""
        ...

    async def send(self, claims: Sequence[MessageClaim]) -> list[Outcome]:
        """Try each message once, with its id as the id that the receiver sees; the outcomes in the same order.

        Never raises (but for the cancellation of its caller) and ends within the destination's timeout. ``Delivered`` is
        answered on the receiver's own proof only: a 2xx, a broker's confirmation.
        """
        ...

    async def close(self) -> None:
        """Release connections. Nothing is sent after it."""
        ...
