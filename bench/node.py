"""Surehook's worker or publisher over a prepared database, until there is nothing left to do.

``python -m bench.node worker FILE --app with_tx`` or ``python -m bench.node publisher FILE --port N``. The clock starts
before the database is opened, so starting up counts too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from pathlib import Path

import apsw
import uvloop

from bench import application
from bench.processes import cpu_seconds
from surehook.config import DestinationSettings, HandlerSettings, ProviderSettings, Settings
from surehook.wiring import Node, Role
from surehook.wiring.running import collect_rarely

#: What is left to do: nothing, when it finds no row. Both look at a partial index only.
LEFT: dict[Role, str] = {
    "worker": "SELECT 1 FROM inbox_events WHERE state IN ('RECEIVED', 'RETRYING') AND due_at > 0 UNION ALL"
    " SELECT 1 FROM inbox_events WHERE state = 'PROCESSING' AND lease_until > 0 LIMIT 1",
    "publisher": "SELECT 1 FROM outbox_messages WHERE state IN ('PENDING', 'RETRYING') UNION ALL"
    " SELECT 1 FROM outbox_messages WHERE state = 'SENDING' AND lease_until > 0 LIMIT 1",
}
DONE: dict[Role, str] = {
    "worker": "SELECT COUNT(*) FROM inbox_events WHERE state = 'PROCESSED'",
    "publisher": "SELECT COUNT(*) FROM outbox_messages WHERE state = 'SENT'",
}
#: Deliveries at once, for Surehook and for the bare client alike.
CONCURRENCY = 50
LOOK_EVERY = 0.01


def settings(path: Path, port: int, handlers: int) -> Settings:
    """Everything at its default but for how many handlers run at once, and deliveries to the one destination."""
    sink = DestinationSettings(
        url=f"http://127.0.0.1:{port}/",
        secrets=("env:BENCH_SINK_SECRET",),
        concurrency=CONCURRENCY,
        allow_private=True,
    )
    stripe = ProviderSettings(secrets=("env:BENCH_STRIPE_SECRET",))
    return Settings(
        database=f"sqlite:///{path}",
        providers={"stripe": stripe},
        destinations={"sink": sink},
        handlers=HandlerSettings(concurrency=handlers),
    )


class Progress:
    """Looks at the database from outside of Surehook."""

    def __init__(self, role: Role, path: Path) -> None:
        self._role = role
        self._reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)

    async def end(self) -> int:
        """Wait until nothing is left; returns how much was done."""
        while self._reader.execute(LEFT[self._role]).fetchall():  # noqa: ASYNC110 - a file cannot wake us
            await asyncio.sleep(LOOK_EVERY)
        [row] = self._reader.execute(DONE[self._role]).fetchall()
        self._reader.close()
        return int(str(row[0]))


async def measure(role: Role, path: Path, app: str, chosen: Settings) -> dict[str, float]:
    """Start the role, wait until nothing is left, stop."""
    cpu, began = cpu_seconds(os.getpid()), time.perf_counter()
    node = Node(chosen, getattr(application, app), (role,))
    await node.start(listen=False)
    collect_rarely()
    count = await Progress(role, path).end()
    seconds, used = time.perf_counter() - began, cpu_seconds(os.getpid()) - cpu
    await node.stop()
    return {"rate": count / seconds, "cpu_us": used / count * 1e6}


def main() -> None:
    """Prints the measurements as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=sorted(LEFT))
    parser.add_argument("file", type=Path)
    parser.add_argument("--app", choices=("with_tx", "without_tx"), default="with_tx")
    parser.add_argument("--port", type=int, default=9)
    parser.add_argument("--handlers", type=int, default=HandlerSettings().concurrency, help="at once")
    arguments = parser.parse_args()
    os.environ["BENCH_SINK_SECRET"] = "whsec_" + "c3VyZWhvb2stYmVuY2gtc2lua3Mt" * 2
    os.environ["BENCH_STRIPE_SECRET"] = "whsec_bench"
    chosen = settings(arguments.file, arguments.port, arguments.handlers)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(arguments.role, arguments.file, arguments.app, chosen))))


if __name__ == "__main__":
    main()
