"""Intercom: one signature of the body; the address is looked at before the first event."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Reads
from surehook.packs.request import Request
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack
from surehook.packs.verdicts import Challenge


class Intercom(SignedPack):
    """The signature is HMAC-SHA1. Subscriptions of the old kind are signed with the ``hub_secret`` that they were given.

    Intercom asks by HEAD or GET whether the address answers: that is not signed, and it is told nothing but 200. A test of
    the subscription is an event of the type ``ping``.
    """

    name = "intercom"
    summary = "Intercom webhook topics"
    docs_url = "https://developers.intercom.com/docs/webhooks/webhook-notifications"
    certainty = "official formula"
    credential = "the app's client secret: Developer Hub, the app, Configure, Basic information"
    methods = frozenset({"POST", "GET", "HEAD"})
    layout = Layout(header="x-hub-signature")
    algorithm = "sha1"
    prefix = "sha1="
    reads = Reads(
        id="body:/id", type="body:/topic", occurred_at="body:/created_at", subject="body:/data/item/id"
    )
    sample_type = "contact.user.created"
    sample_body = {
        "type": "notification_event",
        "app_id": "sample01",
        "data": {
            "type": "notification_event_data",
            "item": {"type": "contact", "id": "6762f0dd1bb69f9f2193bb83", "role": "user"},
        },
        "links": {},
        "id": "notif_1d4c7f0e-23ba-11e4-9464-79b01267cc2e",
        "topic": "contact.user.created",
        "delivery_status": "pending",
        "delivery_attempts": 1,
        "delivered_at": 0,
        "first_sent_at": 1_790_000_000,
        "created_at": 1_790_000_000,
        "self": None,
    }

    def greet(self, request: Request, setup: Setup) -> Challenge | None:
        return Challenge(200, kind="a look at the address") if request.method in {"GET", "HEAD"} else None


PACK: Final[Pack] = Intercom()
