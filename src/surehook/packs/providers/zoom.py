"""Zoom: time and body are signed; a validation asks for the HMAC of a token, now and then again."""

from __future__ import annotations

from typing import Final

import msgspec

from surehook.mac import Hmac
from surehook.packs.handshakes import json_answer
from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Reads
from surehook.packs.reading import FAULTS, decode
from surehook.packs.request import Request
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack
from surehook.packs.verdicts import Challenge

VALIDATION: Final = "endpoint.url_validation"
_HINT: Final = VALIDATION.encode()


class _Payload(msgspec.Struct, frozen=True, rename="camel"):
    plain_token: str


class _Validation(msgspec.Struct, frozen=True):
    event: str
    payload: _Payload


_VALIDATION = msgspec.json.Decoder(_Validation)


class Zoom(SignedPack):
    """Events have no id: one that comes again with the same body is known by that.

    Zoom repeats its validation every 72 hours; it is answered with the secret that verified it, and stored as no event. Its
    documentation names no tolerance for the signed time: five minutes are allowed.
    """

    name = "zoom"
    summary = "Zoom webhooks of meetings, recordings and users; answers the URL validation"
    docs_url = "https://developers.zoom.us/docs/api/webhooks/"
    credential = "the app's secret token: App Marketplace, Manage, the app, Feature"
    layout = Layout(
        header="x-zm-signature", signed="v0:{timestamp}:{body}", timestamp_header="x-zm-request-timestamp"
    )
    prefix = "v0="
    reads = Reads(type="body:/event", subject="body:/payload/object/id", occurred_at="body:/event_ts")
    sample_type = "meeting.started"
    sample_body = {
        "event": "meeting.started",
        "event_ts": 1_790_000_000_000,
        "payload": {
            "account_id": "AAAAAABBBB",
            "object": {
                "id": "1234567890",
                "uuid": "4444AAAiAAAAAiAiAiiAii==",
                "host_id": "x1yCzABCDEfg23HiJKl4mN",
                "topic": "Planning",
                "type": 2,
                "start_time": "2026-09-21T14:13:20Z",
                "duration": 60,
                "timezone": "UTC",
            },
        },
    }

    def greet(self, request: Request, setup: Setup) -> Challenge | None:
        """The handshake is signed, but its answer needs the secret, which no reader has."""
        if _HINT not in request.body:
            return None
        try:
            asked = decode(_VALIDATION, request.body)
        except FAULTS:
            return None
        if asked.event != VALIDATION:
            return None
        reference = self.scheme(setup).verify(request)
        [secret, *_] = [secret for secret in setup.secrets if secret.reference == reference]
        token = asked.payload.plain_token
        encrypted = Hmac(secret.encode()).digest([token.encode("utf-8", "replace")]).hex()
        return json_answer({"plainToken": token, "encryptedToken": encrypted}, VALIDATION)


PACK: Final[Pack] = Zoom()
