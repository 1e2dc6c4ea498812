"""FastAPI and DBOS: the web server enqueues workflows by the client, another process runs them. The workflow's id is the
event's, which makes it the only one for as long as DBOS keeps it.
"""

from __future__ import annotations

import sys
from threading import Event as Signal
from typing import Any

from common import Verified, answer, await_start, begun, serve
from dbos import DBOS, DBOSClient, error
from fastapi import FastAPI

_, verb, url, *_ = sys.argv
QUEUE = "webhooks"
app = FastAPI()


@DBOS.workflow()
def handle(event: dict[str, Any]) -> None:
    """Does nothing."""


def launch() -> None:
    """The application, with its queue; this also makes the tables."""
    DBOS(
        config={"name": "bench", "system_database_url": url, "application_version": "1", "log_level": "ERROR"}
    )
    DBOS.launch()
    DBOS.register_queue(QUEUE)


@app.post("/webhooks/stripe")
def receive(webhook: Verified) -> dict[str, bool]:
    """The client blocks, so this is a plain function, which FastAPI runs in a thread."""
    options = {
        "queue_name": QUEUE,
        "workflow_name": handle.__qualname__,
        "workflow_id": webhook.id,
        "workflow_id_reuse_policy": "reject",
    }
    try:
        app.state.client.enqueue(options, webhook.data)
    except error.DBOSWorkflowIDInUseError:
        return answer(duplicate=True)
    return answer(duplicate=False)


if __name__ == "__main__":
    if verb == "serve":
        launch()
        DBOS.destroy()
        app.state.client = DBOSClient(system_database_url=url, application_name="bench")
        serve(app)
    else:
        await_start()
        launch()
        begun()
        Signal().wait()
