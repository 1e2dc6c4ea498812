"""Wise: the body is signed with one key for all of Wise's customers; the delivery's id travels beside it."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.keys import Key
from surehook.packs.schemes.layout import Layout
from surehook.packs.schemes.public_keys import rsa_key
from surehook.packs.signed import SignedPack
from surehook.secrets import Secret


class Wise(SignedPack):
    """The key is the same for everybody, so a good signature says that Wise sent it, not that it is meant for you.

    Look at ``profile_id`` before you act on an event. The sandbox has a key of its own: give a provider only one of
    them, or events of the sandbox pass for real ones. No time is signed, and the delivery's id is not signed either.
    """

    name = "wise"
    summary = "Wise webhooks of applications and profiles"
    docs_url = "https://docs.wise.com/guides/developer/webhooks/event-handling"
    certainty = "official example"
    proof = "`x-signature-sha256`: RSA with SHA-256 over body, base64"
    credential = "Wise's public key (PEM), that of production or of the sandbox: docs.wise.com, Webhooks, Event handling"
    id_is_signed = False
    layout = Layout(header="x-signature-sha256")
    reads = Reads(
        id="header:x-delivery-id",
        type="body:/event_type",
        subject="body:/data/resource/id",
        occurred_at=("body:/data/occurred_at", "body:/sent_at"),
    )
    sample_type = "transfers#state-change"
    sample_body = {
        "data": {
            "resource": {"type": "transfer", "id": 50500593, "profile_id": 223344, "account_id": 998877},
            "current_state": "processing",
            "previous_state": "incoming_payment_waiting",
            "occurred_at": "2026-09-21T14:13:20Z",
        },
        "subscription_id": "01234567-89ab-cdef-0123-456789abcdef",
        "event_type": "transfers#state-change",
        "schema_version": "2.0.0",
        "sent_at": "2026-09-21T14:13:21Z",
    }

    def key(self, secret: Secret) -> Key:
        return rsa_key(secret)


PACK: Final[Pack] = Wise()
