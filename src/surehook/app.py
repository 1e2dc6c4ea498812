"""App: what users decorate, run and mount."""

from __future__ import annotations

import os
from pathlib import Path

from surehook.config import Settings, load
from surehook.handlers import Registry
from surehook.ingest.mount import Mountable
from surehook.wiring import MountedNode, Node
from surehook.wiring.parts import warn


class App(Registry):
    """An application: handlers by ``on``, tables by ``setup``; run by ``surehook run`` or mounted by ``asgi``."""

    def asgi(self, settings: Settings | None = None, *, config: str | Path | None = None) -> Mountable:
        """Ingest, worker and publisher as an ASGI application, to be mounted in Starlette or FastAPI.

        The settings come from ``settings``, else as ``surehook run`` finds them (``config`` as ``--config``). Enter the
        result's ``running()`` in the lifespan of the application around it, so that everything stops in order. Raises
        ConfigurationError.
        """
        if settings is None:
            settings = load(Path(config) if config is not None else None, os.environ, {}).settings
        warn(settings, self)
        node = Node(settings, self, ("ingest", "worker", "publisher"))

        async def start() -> None:
            await node.start(listen=False)

        return Mountable(MountedNode(node), start, node.stop)
