"""A connection as uvicorn's code sees it: what it closes and reads on with is decided by our protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Sized
from typing import Any, Protocol

from uvicorn.protocols.http.flow_control import FlowControl


class HangingUp(Protocol):
    """The protocol of a connection."""

    def hang_up(self) -> None:
        """Close the connection when what was written is sent."""
        ...


class Transport(asyncio.Transport):
    """The connection as uvicorn sees it: ``close`` is the protocol's ``hang_up``, and ends writing for good."""

    __slots__ = ("_protocol", "closing", "raw")

    def __init__(self, raw: asyncio.Transport, protocol: HangingUp) -> None:
        super().__init__()
        self.raw = raw
        self.closing = False
        self._protocol = protocol

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if not self.closing:
            self.raw.write(data)

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self._protocol.hang_up()

    def is_closing(self) -> bool:
        return self.closing or self.raw.is_closing()

    def pause_reading(self) -> None:
        self.raw.pause_reading()

    def resume_reading(self) -> None:
        if not self.raw.is_closing():
            self.raw.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.raw.get_extra_info(name, default)


class Flow(FlowControl):
    """Reads nothing more while pipelined requests wait: uvicorn reads on with every answer, without a bound."""

    def __init__(self, transport: asyncio.Transport, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        if not self._pipeline:
            super().resume_reading()
