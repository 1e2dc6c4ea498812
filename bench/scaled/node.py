"""One process of Surehook with one role or several, as ``surehook run --role`` runs it.

``python -m bench.scaled.node ROLE[,ROLE] DATABASE [--queue URL] [--port N] [--sink N] [--app NAME]``. It loads its code,
says so, and waits for a line before it opens the database; then it says so again, and works until it is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Mapping

import msgspec
import uvloop

from bench import application
from bench.load import SECRET
from bench.node import CONCURRENCY
from bench.scaled.application import timed
from surehook import App
from surehook.config import DestinationSettings, PostgresSettings, ProviderSettings, ServerSettings, Settings
from surehook.wiring import ROLES, Node, Role
from surehook.wiring.running import collect_rarely

APPS: Mapping[str, App] = {
    "with_tx": application.with_tx,
    "without_tx": application.without_tx,
    "no_op": application.no_op,
    "timed": timed,
}


def settings(database: str, queue: str, port: int, sink: int) -> Settings:
    """Everything at its default but for the addresses, and the concurrency of the one destination."""
    destination = DestinationSettings(
        url=f"http://127.0.0.1:{sink}/",
        secrets=("env:BENCH_SINK_SECRET",),
        concurrency=CONCURRENCY,
        allow_private=True,
    )
    return Settings(
        database=database,
        queue=queue,
        server=ServerSettings(port=port),
        providers={"stripe": ProviderSettings(secrets=("env:BENCH_STRIPE_SECRET",))},
        destinations={"sink": destination},
    )


def roles_of(text: str) -> list[Role]:
    """One or more, with commas in between."""
    names = text.split(",")
    if unknown := set(names) - set(ROLES):
        raise argparse.ArgumentTypeError(f"no such role: {', '.join(unknown)}")
    return [role for role in ROLES if role in names]


def say(word: str) -> None:
    """One line for the parent."""
    print(json.dumps(word), flush=True)


async def work(node: Node, *, listen: bool) -> None:
    """Until the process is killed."""
    await node.start(migrate=False, listen=listen)
    collect_rarely()
    say("begun")
    await asyncio.Event().wait()


def main() -> None:
    """Until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("roles", type=roles_of)
    parser.add_argument("database", help="its URL")
    parser.add_argument("--queue", default="database")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--sink", type=int, default=9)
    parser.add_argument("--app", choices=APPS, default="with_tx")
    parser.add_argument("--alone", action="store_true", help="a transaction of its own for each handler")
    arguments = parser.parse_args()
    os.environ["BENCH_SINK_SECRET"] = "whsec_" + "c3VyZWhvb2stYmVuY2gtc2lua3Mt" * 2
    os.environ["BENCH_STRIPE_SECRET"] = SECRET
    chosen = settings(arguments.database, arguments.queue, arguments.port, arguments.sink)
    chosen = msgspec.structs.replace(chosen, postgres=PostgresSettings(shared_turns=not arguments.alone))
    node = Node(chosen, APPS[arguments.app], arguments.roles)
    # that polling is slow, for one, is what is measured
    logging.basicConfig(level=logging.ERROR)
    say("ready")
    sys.stdin.readline()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(node, listen="ingest" in arguments.roles))


if __name__ == "__main__":
    main()
