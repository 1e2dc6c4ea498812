"""How often an event's attempt was undone by what others do: such attempts are not counted, but not for ever."""

from __future__ import annotations

from typing import Final

from surehook.ids import EventId

#: What is undone so often in a row is laid to the handler's account: it is then seen, waits longer, and ends.
PATIENCE: Final = 10

#: Events that are remembered; who is forgotten begins again.
_MOST: Final = 10_000


class LostTurns:
    """The turns that events have lost in a row, as far as one worker has seen."""

    def __init__(self) -> None:
        self._lost: dict[EventId, int] = {}

    def lose(self, id: EventId) -> bool:
        """Another one is lost; whether it may still go uncounted."""
        count = self._lost.pop(id, 0) + 1
        if count > PATIENCE:
            return False
        if len(self._lost) >= _MOST:
            del self._lost[next(iter(self._lost))]
        self._lost[id] = count
        return True

    def end(self, id: EventId) -> None:
        """Its attempt has come to an end of its own."""
        self._lost.pop(id, None)
