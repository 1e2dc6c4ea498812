"""Where the servers of a configuration are reached from this machine."""

from __future__ import annotations

from surehook.config.settings import Settings


def base_url(host: str, port: int) -> str:
    """The URL of a server that listens there; one that listens everywhere is reached through loopback."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - nothing is bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def provider_url(settings: Settings, name: str) -> str:
    """Where a provider posts to."""
    own = settings.providers[name].url if name in settings.providers else None
    server = settings.server
    base = server.public_url or base_url(server.host, server.port)
    return own or f"{base.rstrip('/')}/webhooks/{name}"
