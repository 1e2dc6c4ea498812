"""Adyen's payment webhooks: each of the events in a request carries a signature over eight of its fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from surehook.errors import InvalidRequest
from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Joined, Reads
from surehook.packs.reading import FAULTS, decode
from surehook.packs.request import BadSignature, Delivery, Draft, Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.keys import HmacKey
from surehook.packs.signed import hex_key

_ITEM: Final = "body:/NotificationRequestItem"
_FIRST: Final = "body:/notificationItems/0/NotificationRequestItem"


class _Amount(msgspec.Struct, frozen=True):
    value: int | None = None
    currency: str | None = None


class _Additional(msgspec.Struct, frozen=True, rename={"hmac": "hmacSignature"}):
    hmac: str = ""


class _Item(msgspec.Struct, frozen=True, rename="camel"):
    psp_reference: str | None = None
    original_reference: str | None = None
    merchant_account_code: str | None = None
    merchant_reference: str | None = None
    amount: _Amount = _Amount()
    event_code: str | None = None
    success: str | None = None
    additional_data: _Additional = _Additional()

    def signed(self) -> Sequence[bytes]:
        """What is signed; nothing is escaped, and what is missing is empty."""
        fields = (
            self.psp_reference,
            self.original_reference,
            self.merchant_account_code,
            self.merchant_reference,
            None if self.amount.value is None else str(self.amount.value),
            self.amount.currency,
            self.event_code,
            self.success,
        )
        return [":".join([field or "" for field in fields]).encode()]


class _Wrapped(msgspec.Struct, frozen=True, rename={"item": "NotificationRequestItem"}):
    item: _Item


class _Body(msgspec.Struct, frozen=True, rename="camel"):
    notification_items: list[_Wrapped]


_BODY = msgspec.json.Decoder(_Body)
_ANY = msgspec.json.Decoder(dict[str, Any])


class _Scheme:
    """Every event must be signed, and all of them with the same key: a good one does not vouch for those beside it."""

    def __init__(self, setup: Setup) -> None:
        self._keys = [
            HmacKey(secret.reference, hex_key(secret), encoding="base64") for secret in setup.secrets
        ]

    def verify(self, request: Request) -> str:
        try:
            # what is skipped must be UTF-8 too: else anyone could make an event unreadable that is signed
            items = [each.item for each in decode(_BODY, request.body).notification_items]
        except FAULTS:
            raise BadSignature("the body does not hold notificationItems as it should") from None
        if not items:
            raise BadSignature("the body holds no events, so there is no signature")
        for key in self._keys:
            if all(key.matches(item.signed(), [item.additional_data.hmac.encode()]) for item in items):
                return key.reference
        raise BadSignature("no live secret made hmacSignature of every event", items[0].signed())

    def sign(self, draft: Draft) -> Delivery:
        try:
            body, items = _ANY.decode(draft.body), _BODY.decode(draft.body).notification_items
        except FAULTS:
            raise InvalidRequest(
                "Adyen's signatures stand in the body, which must hold notificationItems"
            ) from None
        for raw, wrapped in zip(body["notificationItems"], items, strict=True):
            signature = self._keys[0].sign(wrapped.item.signed()).decode()
            raw["NotificationRequestItem"].setdefault("additionalData", {})["hmacSignature"] = signature
        return Delivery({}, msgspec.json.encode(body), draft.query, draft.method)


class Adyen(Pack):
    """Signed are references, account, amount, ``eventCode`` and ``success``; whatever else is in an event is not.

    An event's id is ``pspReference:eventCode:success``, by which Adyen says duplicates are known. Adyen's platform and
    banking webhooks are signed in another way and are not read here. The signature has no time, so nothing can be stale.
    """

    name = "adyen"
    summary = "Adyen's standard webhooks of payments"
    docs_url = "https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures/"
    certainty = "official library"
    proof = "`hmacSignature` of each event: HMAC-SHA256 over eight of its fields, base64"
    credential = "the webhook's HMAC key (hex): Customer Area, Developers, Webhooks, the webhook, Security"
    response = (200, b"[accepted]", "text/plain")
    items = "/notificationItems"
    item = Reads(
        id=Joined((f"{_ITEM}/pspReference", f"{_ITEM}/eventCode", f"{_ITEM}/success"), ":"),
        type=f"{_ITEM}/eventCode",
        subject=f"{_ITEM}/pspReference",
        occurred_at=f"{_ITEM}/eventDate",
    )
    #: Where a sample's id and type go.
    reads = Reads(id=f"{_FIRST}/pspReference", type=f"{_FIRST}/eventCode")
    sample_type = "AUTHORISATION"
    sample_body = {
        "live": "false",
        "notificationItems": [
            {
                "NotificationRequestItem": {
                    "pspReference": "QFQTPCQ8HXSKGK82",
                    "merchantAccountCode": "SampleAccount",
                    "merchantReference": "order-4711",
                    "amount": {"currency": "EUR", "value": 4200},
                    "eventCode": "AUTHORISATION",
                    "eventDate": "2026-09-21T14:13:20+00:00",
                    "operations": ["CANCEL", "CAPTURE", "REFUND"],
                    "paymentMethod": "visa",
                    "reason": "",
                    "success": "true",
                    "additionalData": {"cardSummary": "1111"},
                }
            }
        ],
    }

    def scheme(self, setup: Setup) -> Scheme:
        return _Scheme(setup)


PACK: Final[Pack] = Adyen()
