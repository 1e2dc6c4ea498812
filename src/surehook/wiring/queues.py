"""The queue as the settings name it: what tells workers and publishers, here and elsewhere, that there is work."""

from __future__ import annotations

import logging

from surehook.config import Settings, is_postgres
from surehook.queue import Queue
from surehook.queue.database import DatabaseQueue
from surehook.wiring.extras import import_extra
from surehook.wiring.urls import database_url, listen_url, queue_url

logger = logging.getLogger(__name__)


def build_queue(settings: Settings, *, pooled: bool) -> Queue:
    """The queue, not yet started; ``pooled``: a transaction pooler stands before the database.

    Raises ConfigurationError for a URL or prefix that cannot work, and when an extra is missing.
    """
    url = queue_url(settings)
    if url != "database":
        adapter = import_extra("surehook.queue.redis", f"queue: {url.partition('://')[0]}://", "redis")
        queue: Queue = adapter.RedisQueue(
            url, prefix=settings.redis.prefix, patience=settings.redis.timeout / 1000
        )
        return queue
    if not is_postgres(database_url(settings)):
        return DatabaseQueue()
    return _listening(settings, pooled)


def _listening(settings: Settings, pooled: bool) -> Queue:
    direct = listen_url(settings)
    if direct is None and pooled:
        logger.warning(
            "a transaction pooler stands before PostgreSQL and passes no notifications on, so other processes find new "
            "work by their poll (handlers.poll). Set postgres.listen_url to a URL that leads past it",
            extra={"event": "queue.polling"},
        )
        return DatabaseQueue()
    adapter = import_extra("surehook.queue.notify", "database: postgresql://", "postgres")
    queue: Queue = adapter.NotifyingQueue(
        direct or database_url(settings), patience=settings.postgres.timeout / 1000
    )
    return queue
