"""Mollie's next-gen webhooks: a signature for each live secret, in a header of its own."""

from __future__ import annotations

from typing import ClassVar, Final

from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Reads
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.several import SeveralHeaders
from surehook.packs.signed import SignedPack


class Mollie(SignedPack):
    """Payments still send the older webhooks, which are not signed: they need the pack ``mollie-classic``.

    The header may be there several times while secrets rotate, and ``sha256=`` before a signature may be missing. No time is
    signed.
    """

    name = "mollie"
    summary = "Mollie next-gen webhooks"
    docs_url = "https://docs.mollie.com/reference/webhooks-new"
    certainty = "official formula"
    proof = "`x-mollie-signature`, also several: HMAC-SHA256 over body, hex, mostly after `sha256=`"
    credential = "the webhook's signing secret: Developers, Webhooks; shown when it is made"
    signature_header: ClassVar[str] = "x-mollie-signature"
    prefix = "sha256="
    reads = Reads(id="body:/id", type="body:/type", occurred_at="body:/createdAt", subject="body:/entityId")
    sample_type = "payment-link.paid"
    sample_body = {
        "resource": "event",
        "id": "event_SampleSurehook00001",
        "type": "payment-link.paid",
        "entityId": "pl_SampleSurehook00001",
        "createdAt": "2026-09-21T14:13:20.0Z",
        "_links": {
            "self": {
                "href": "https://api.mollie.com/v2/events/event_SampleSurehook00001",
                "type": "application/hal+json",
            }
        },
    }

    def scheme(self, setup: Setup) -> Scheme:
        keys = [self.key(secret) for secret in setup.secrets]
        return SeveralHeaders([self.signature_header], keys, repeats=True)


PACK: Final[Pack] = Mollie()
