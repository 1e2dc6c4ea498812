"""Mailgun: a time and a token are signed, inside the body, and nothing else of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from surehook.config import ProviderSettings
from surehook.errors import InvalidRequest
from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Reads
from surehook.packs.reader import JsonReader
from surehook.packs.reading import FAULTS, form, is_form
from surehook.packs.request import BadSignature, Delivery, Draft, Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.keys import HmacKey
from surehook.packs.schemes.layout import check_time
from surehook.packs.schemes.moments import SECONDS
from surehook.packs.verdicts import Challenge, Reader, Reading


class _Signature(msgspec.Struct, frozen=True):
    timestamp: str
    token: str
    signature: str


class _Signed(msgspec.Struct, frozen=True):
    signature: _Signature


_SIGNED = msgspec.json.Decoder(_Signed)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Scheme:
    def __init__(self, setup: Setup) -> None:
        self._keys = [HmacKey(secret.reference, secret.encode()) for secret in setup.secrets]
        self._tolerance = setup.tolerance() * 1000

    def verify(self, request: Request) -> str:
        found = _signature(request)
        check_time(SECONDS.read(found.timestamp), request, self._tolerance)
        parts = [found.timestamp.encode(), found.token.encode()]
        for key in self._keys:
            if key.matches(parts, [found.signature.encode()]):
                return key.reference
        raise BadSignature("no live secret made the signature in the body", parts)

    def sign(self, draft: Draft) -> Delivery:
        try:
            members = dict(_MEMBERS.decode(draft.body))
        except FAULTS:
            raise InvalidRequest(
                "Mailgun's signature stands in the body, which must be a JSON object"
            ) from None
        stamp = SECONDS.write(draft.now)
        token = hashlib.sha256(f"{stamp} {draft.external_id}".encode("utf-8", "replace")).hexdigest()[:50]
        made = _Signature(stamp, token, self._keys[0].sign([stamp.encode(), token.encode()]).decode())
        members["signature"] = msgspec.Raw(msgspec.json.encode(made))
        return Delivery({}, msgspec.json.encode(members), draft.query, draft.method)


def _signature(request: Request) -> _Signature:
    try:
        if is_form(request):
            return _of_form(form(request.body))
        return _SIGNED.decode(request.body).signature
    except FAULTS:
        raise BadSignature("the body does not hold timestamp, token and signature") from None


def _of_form(fields: Mapping[str, str]) -> _Signature:
    return msgspec.convert(dict(fields), _Signature)


class _Reader(JsonReader):
    """Older webhooks are forms, whose events have no id."""

    def read(self, request: Request, into: Reading) -> Challenge | Sequence[Reading] | None:
        if not is_form(request):
            return super().read(request, into)
        fields = form(request.body)
        into.type = fields.get("event")
        into.subject = fields.get("Message-Id")
        into.occurred_at = fields.get("timestamp")
        return None


class Mailgun(Pack):
    """The event itself is not signed: who has seen one delivery can send any event for as long as its time is good.

    Only TLS protects what is in it. Ask Mailgun's API before you act on what must be true, and narrow ``tolerance`` if you
    can. A subaccount's events are signed with its own key.
    """

    name = "mailgun"
    summary = "Mailgun webhooks, and the older ones that are forms"
    docs_url = "https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks"
    certainty = "official library"
    proof = "`signature` in the body: HMAC-SHA256 over time and token, hex"
    credential = "the HTTP webhook signing key: Send, Sending, Webhooks"
    settings = frozenset({"tolerance"})
    id_is_signed = False
    reads = Reads(
        id="body:/event-data/id",
        type="body:/event-data/event",
        subject="body:/event-data/message/headers/message-id",
        occurred_at="body:/event-data/timestamp",
    )
    sample_type = "delivered"
    sample_body = {
        "event-data": {
            "event": "delivered",
            "id": "CPgfbmQMTCKtHW6uIWtuVe",
            "timestamp": 1_790_000_000.25,
            "log-level": "info",
            "recipient": "reader@example.com",
            "message": {"headers": {"message-id": "20260921141320.1.2E1B@example.com", "subject": "News"}},
        }
    }

    def scheme(self, setup: Setup) -> Scheme:
        return _Scheme(setup)

    def reader(self, settings: ProviderSettings) -> Reader:
        return _Reader(self.reads)


PACK: Final[Pack] = Mailgun()
