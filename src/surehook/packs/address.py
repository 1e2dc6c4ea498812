"""The public address of a provider, for the schemes that sign it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from surehook.errors import ConfigurationError
from surehook.packs.request import Draft, Request

_PORTS: Final = {"http": 80, "https": 443}
_ORIGIN = re.compile(r"(https?)://([^/?]*?)(?::([0-9]+))?(?=[/?]|$)")


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


def port_spellings(url: str) -> Sequence[str]:
    """A URL as it is, with its scheme's default port where it has none, and without a port where it has one."""
    found = _ORIGIN.match(url)
    if found is None:
        return [url]
    scheme, host, port, rest = found[1], found[2], found[3], url[found.end() :]
    other = f"{scheme}://{host}{rest}" if port else f"{scheme}://{host}:{_PORTS[scheme]}{rest}"
    return [url, other]
