"""FastAPI and Celery on Redis. A task's id is the event's, but Celery does not look whether it has seen it."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from celery import Celery
from celery.signals import worker_ready
from celery.worker import state
from common import Verified, answer, await_start, begun, serve
from fastapi import FastAPI

_, verb, url, *_ = sys.argv
#: Acknowledged when it has run, and given again when its worker is lost: otherwise tasks get lost.
tasks = Celery("webhooks", broker=url, task_acks_late=True, task_reject_on_worker_lost=True)
tasks.conf.update(task_ignore_result=True, worker_hijack_root_logger=False)

app = FastAPI()


@tasks.task(name="webhook")
def handle(event: dict[str, Any]) -> None:
    """Does nothing."""


@app.post("/webhooks/stripe")
def receive(webhook: Verified) -> dict[str, bool]:
    """Celery blocks, so this is a plain function, which FastAPI runs in a thread."""
    handle.apply_async((webhook.data,), task_id=webhook.id)
    return answer(duplicate=False)


def work() -> None:
    """One worker with a process for each core, its default."""
    warnings.filterwarnings("ignore", message="You're running the worker with superuser")
    await_start()
    worker_ready.connect(lambda **_: begun(lambda: sum(state.total_count.values())), weak=False)
    tasks.worker_main(["--quiet", "worker", "--loglevel=ERROR"])


if __name__ == "__main__":
    serve(app) if verb == "serve" else work()
