"""CloudEvents over HTTP, delivered as the specification's webhooks: a token, a handshake by OPTIONS, three modes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from surehook.config import ProviderSettings
from surehook.packs.pack import Pack, Setup
from surehook.packs.places import FIELDS, Reads
from surehook.packs.reader import JsonReader
from surehook.packs.request import BadSignature, Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.shared import BearerScheme
from surehook.packs.verdicts import Challenge, Reader, Reading

_ORIGIN = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}")
_RATE = re.compile(r"[1-9][0-9]{0,8}")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_MEDIA_TYPE: Final = "application/cloudevents"

#: Where the attributes stand in binary mode.
HEADERS: Final = {"id": "ce-id", "type": "ce-type", "subject": "ce-subject", "occurred_at": "ce-time"}


class CloudEventsReader(Reader):
    """The media type says whether events stand in the body (structured, batched) or the body is their data (binary)."""

    def __init__(self, attributes: Reads) -> None:
        self._json = JsonReader(Reads(), "", attributes)

    def read(self, request: Request, into: Reading) -> Challenge | Sequence[Reading] | None:
        if (request.header("content-type") or "").strip().lower().startswith(_MEDIA_TYPE):
            return self._json.read(request, into)
        for name in FIELDS:
            text = request.optional(HEADERS[name])
            setattr(into, name, None if text is None else attribute(text))
        return None


def attribute(text: str) -> str:
    """An attribute as it stands in a header (HTTP binding 3.1.3.2): unquoted, then percent-decoded once.

    Raises ValueError when that gives no UTF-8.
    """
    if len(text) > 1 and text.startswith('"') and text.endswith('"'):
        text = _ESCAPED.sub(r"\1", text[1:-1])
    return unquote_to_bytes(text.encode("latin-1")).decode()


class CloudEvents(Pack):
    """The token proves who sends, not that the body is unchanged.

    Ids are unique only together with their ``source``: unless they are UUIDs, give each source a provider of its own. Anyone
    may ask for the handshake, and any origin is allowed to send, since the token decides; ``WebHook-Request-Callback`` is
    not called. A token in the query may end up in the logs of proxies: prefer the header.
    """

    name = "cloudevents"
    summary = (
        "any sender of CloudEvents over HTTP: binary, structured or batched; answers the OPTIONS handshake"
    )
    docs_url = "https://github.com/cloudevents/spec/blob/main/cloudevents/http-webhook.md"
    proof = "a token in `authorization` (Bearer), or `access_token` in the query"
    credential = "the token that you give the sender, for Authorization: Bearer or ?access_token="
    methods = frozenset({"OPTIONS", "POST"})
    reads = Reads(id="body:/id", type="body:/type", subject="body:/subject", occurred_at="body:/time")
    sample_type = "com.example.order.created"
    sample_body = {
        "specversion": "1.0",
        "id": "8f14e45f-ea9c-4c2b-9a54-2b6f6f0f7a11",
        "source": "/orders/eu",
        "type": "com.example.order.created",
        "subject": "order-4711",
        "time": "2026-09-21T14:13:20.000Z",
        "datacontenttype": "application/json",
        "data": {"total": "42.00"},
    }

    def scheme(self, setup: Setup) -> Scheme:
        return BearerScheme(setup.secrets)

    def reader(self, settings: ProviderSettings) -> Reader:
        return CloudEventsReader(self.reads)

    def headers(self, settings: ProviderSettings, external_id: str, type: str) -> dict[str, str]:
        return {"content-type": f"{_MEDIA_TYPE}+json"}

    def greet(self, request: Request, setup: Setup) -> Challenge | None:
        if request.method != "OPTIONS":
            return None
        origin = request.only("webhook-request-origin")
        rate = request.optional("webhook-request-rate")
        if request.body or not _ORIGIN.fullmatch(origin) or not (rate is None or _RATE.fullmatch(rate)):
            raise BadSignature("the handshake is not written as it should be")
        allowed = [("Allow", "POST"), ("WebHook-Allowed-Origin", origin)]
        if rate is not None:
            allowed.append(("WebHook-Allowed-Rate", rate))
        return Challenge(200, headers=tuple(allowed), kind="delivery validation")

    def proof_headers(self, settings: ProviderSettings) -> frozenset[str]:
        return frozenset({"authorization"})


PACK: Final[Pack] = CloudEvents()
