"""Random bytes for ids, a few at a time without asking the kernel for each."""

from __future__ import annotations

import os
import threading
from typing import Final

#: Bytes that are asked for at once: a call costs some microseconds, whether for ten bytes or for thousands.
_ASKED: Final = 4096


class _Stock(threading.local):
    """What is left; each thread has its own, so that no two are given the same bytes."""

    def __init__(self) -> None:
        self.bytes = b""
        self.used = 0


_stock = _Stock()


def random_bytes(size: int) -> bytes:
    """So many bytes (at most 4,096) of the operating system's generator. Not for secrets: they stay in memory."""
    begin = _stock.used
    end = begin + size
    if end > len(_stock.bytes):
        _stock.bytes, begin, end = os.urandom(_ASKED), 0, size
    _stock.used = end
    return _stock.bytes[begin:end]


def _forget() -> None:
    """A forked process must not give what its parent gives as well."""
    _stock.bytes, _stock.used = b"", 0


os.register_at_fork(after_in_child=_forget)
