"""The inbox: ``accept()`` is the only way in, and returns when the events are durable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from surehook.clock import Clock, Millis
from surehook.errors import Overloaded
from surehook.model import Accepted, Arrival
from surehook.queue import Queue
from surehook.storage import Storage


class Inbox:
    """Gathers what arrives while the previous commit is in flight and stores it in one transaction (group commit).

    Alone, an arrival costs one commit; under load, hundreds share one.
    """
