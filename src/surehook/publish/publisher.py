"""The publisher: a lane for each destination, leases that are kept alive, a stop that gives back what it cannot finish."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

from surehook.clock import Clock, Millis
from surehook.publish.ends import Ends
from surehook.publish.lane import Lane, Office, Route, Timing
from surehook.service import Duty, Service
from surehook.storage import Storage

#: How long a stop waits for the last commits, in seconds.
_GRACE: Final = 5.0


class Publisher:
    """Delivers the messages of the outbox, each at least once and always under the same id."""

    def __init__(
        self,
        storage: Storage,
        routes: Sequence[Route],
        clock: Clock,
        *,
        worker: str = "",
        timing: Timing | None = None,
    ) -> None:
        """``worker`` names this process in failures. The transports of the routes are closed by ``stop``."""
        self._storage = storage
        self._routes = routes
        self._clock = clock
        self._timing = timing or Timing()
        self._ends = Ends(storage, clock)
        office = Office(storage, self._ends, clock, self._timing, worker)
        self._lanes = {route.name: Lane(route, office, partial(self.wake, (route.name,))) for route in routes}
        self._claiming = Service(
            [Duty(_duty(name), lane.run_once, self._timing.poll) for name, lane in self._lanes.items()]
        )
        self._heartbeat = Service([Duty("publisher heartbeat", self.heartbeat, self._timing.heartbeat)])

    @property
    def in_flight(self) -> int:
        """Messages that are claimed and not settled yet."""
        return sum(len(lane.flights) for lane in self._lanes.values())

    def start(self) -> None:
        """Begin to claim; needs a running loop."""
        self._claiming.start()
        self._heartbeat.start()

    def wake(self, destinations: Collection[str] | None = None) -> None:
        """Messages for these destinations (None: for any) are committed. Never waits; unknown names are skipped."""
        for name in self._lanes if destinations is None else destinations:
            if name in self._lanes:
                self._claiming.wake(_duty(name))

    async def run_once(self, destination: str) -> None:
        """Claim what is due for one destination and begin to send it, as its lane does when woken."""
        await self._lanes[destination].run_once()

    async def heartbeat(self) -> None:
        """Prolong the leases of what is held: in hand, being sent, being settled."""
        flights = [flight for lane in self._lanes.values() for flight in lane.flights]
        if not flights:
            return
        lease_until = Millis(self._clock.now() + self._timing.lease)
        lost = set(await self._storage.extend_messages([flight.claim for flight in flights], lease_until))
        for flight in flights:
            flight.lease_until = self._clock.now() if flight.claim.id in lost else lease_until

    async def stop(self, drain_timeout: int) -> None:
        """Stop claiming, let what is being sent finish within ``drain_timeout`` ms, then give the rest back uncounted."""
        deadline = asyncio.get_running_loop().time() + drain_timeout / 1000
        await self._claiming.stop(drain_timeout)
        await asyncio.gather(*(lane.drain(deadline, _GRACE) for lane in self._lanes.values()))
        self._ends.close()
        await self._heartbeat.stop()
        await asyncio.gather(*(route.transport.close() for route in self._routes))


def _duty(destination: str) -> str:
    return f"publisher of {destination}"
