"""Paddle Classic: forms that are signed in one of their own fields. Paddle Billing is another pack, ``paddle``."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from surehook.config import ProviderSettings
from surehook.packs.pack import Pack, Setup
from surehook.packs.reading import form
from surehook.packs.request import Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.php import SerializedForm
from surehook.packs.schemes.public_keys import rsa_key
from surehook.packs.verdicts import Reader, Reading


class _Reader(Reader):
    def read(self, request: Request, into: Reading) -> None:
        fields = form(request.body)
        into.id = fields.get("alert_id")
        into.type = fields.get("alert_name")
        into.subject = fields.get("subscription_id") or fields.get("order_id") or fields.get("p_order_id")
        into.occurred_at = fields.get("event_time")


class PaddleClassic(Pack):
    """A handler's ``event.data`` is the form's fields, all of them text. Times are UTC although they do not say so.

    A fulfilment webhook has neither id nor name: its type is the topic of the URL. No time is signed that could be stale.
    """

    name = "paddle-classic"
    summary = "Paddle Classic alerts and fulfilment webhooks"
    docs_url = "https://developer.paddle.com/classic/reference/verifying-webhooks"
    certainty = "official example"
    proof = "`p_signature`, a field of the form: RSA with SHA-1 over all others, base64"
    credential = "the public key (PEM): Vendor Dashboard, Developer Tools, Public Key"
    sample_type = "subscription_payment_succeeded"

    def scheme(self, setup: Setup) -> Scheme:
        return SerializedForm("p_signature", [rsa_key(each, algorithm="sha1") for each in setup.secrets])

    def reader(self, settings: ProviderSettings) -> Reader:
        return _Reader()

    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        return urlencode(
            {
                "alert_id": external_id or "1790000001",
                "alert_name": type or self.sample_type,
                "currency": "EUR",
                "email": "buyer@example.com",
                "event_time": "2026-09-21 14:13:20",
                "passthrough": "",
                "sale_gross": "42.00",
                "subscription_id": "350638",
            }
        ).encode()


PACK: Final[Pack] = PaddleClassic()
