"""The public address of a provider, for the schemes that sign it."""

from __future__ import annotations

from urllib.parse import urlsplit

from surehook.errors import ConfigurationError
from surehook.packs.request import Draft, Request


class Address:
    """The URL as the sender knows it: never made up from headers, which a proxy changes and an attacker chooses.

    ``/{topic}`` in it stands for the request's topic, where it has one, and the request's own query is added. Raises
    ConfigurationError for what is no URL.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.fragment
        except ValueError:
            fits = False
        if not fits:
            raise ConfigurationError(
                f"url = {url!r} is no address: write the one that the sender posts to, e.g. "
                "'https://hooks.example.com/webhooks/twilio'"
            )
        self._url = url.partition("?")[0]

    def of(self, request: Request | Draft) -> str:
        """The full URL that a request was sent to, its query as it was sent."""
        url = self._url.replace("/{topic}", f"/{request.topic}" if request.topic else "")
        return f"{url}?{request.query}" if request.query else url
