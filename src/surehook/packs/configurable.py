"""Packs for senders that Surehook does not know by name: the settings say where things stand."""

from __future__ import annotations

import msgspec

from surehook.config import ProviderSettings
from surehook.errors import ConfigurationError
from surehook.packs.pack import Pack
from surehook.packs.places import FIELDS, Place, header_name, parse_place
from surehook.packs.reading import Document, is_json, scalar
from surehook.packs.request import Request
from surehook.packs.verdicts import Reader, Reading

#: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
IDEMPOTENCY_KEY = "idempotency-key"


def places(settings: ProviderSettings) -> dict[str, Place]:
    """The places that the settings name, by what stands there; without ``id`` the header ``Idempotency-Key`` is the id."""
    written = {name: getattr(settings, name) for name in FIELDS}
    found = {name: parse_place(name, text) for name, text in written.items() if text is not None}
    return {"id": Place(header=IDEMPOTENCY_KEY), **found}


class ConfiguredReader(Reader):
    """Reads each thing where the settings say."""

    def __init__(self, settings: ProviderSettings) -> None:
        found = places(settings)
        self._headers = [(name, place.header) for name, place in found.items() if place.header is not None]
        self._paths = [(name, place.path) for name, place in found.items() if place.header is None]

    def read(self, request: Request, into: Reading) -> None:
        for name, header in self._headers:
            setattr(into, name, request.optional(header))
        if self._paths or is_json(request):
            document = Document(request.body)
            for name, path in self._paths:
                setattr(into, name, scalar(document.find(path)))


class ConfigurablePack(Pack):
    """What the configurable packs have in common: any body, and places that the settings name."""

    settings = frozenset(FIELDS)
    docs_url = "https://github.com/standard-webhooks/standard-webhooks"
    example = ProviderSettings(id="body:/id", type="body:/type")
    sample_type = "order.created"

    def reader(self, settings: ProviderSettings) -> Reader:
        return ConfiguredReader(settings)

    def headers(self, settings: ProviderSettings, external_id: str, type: str) -> dict[str, str]:
        values = {"id": external_id, "type": type}
        found = places(settings)
        return {
            found[name].header or "": value
            for name, value in values.items()
            if name in found and found[name].header
        }

    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        return msgspec.json.encode(
            {
                "id": external_id or "sample-1",
                "type": type or self.sample_type,
                "created_at": "2026-09-21T14:13:20Z",
                "data": {"order": 4711, "total": "42.00"},
            }
        )


def required_header(settings: ProviderSettings) -> str:
    """The header that carries the proof. Raises ConfigurationError when the settings do not name it."""
    if settings.header is None:
        raise ConfigurationError(
            "say which header carries the signature or token, e.g. header = 'X-Signature'"
        )
    return header_name("header", settings.header)
