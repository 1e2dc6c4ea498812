"""Xero: many events in one request, under one signature of the body, and a trial before the first."""

from __future__ import annotations

from typing import Final

import msgspec

from surehook.packs.pack import Pack
from surehook.packs.places import Joined, Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack


class Xero(SignedPack):
    """Xero insists on 200 with an empty body within five seconds, 401 for a bad signature, and no cookies.

    "Intent to receive" is a trial with requests that hold no events, some of them signed wrongly: it is passed by verifying
    them. Each event of a request is one here. It has no id: the digest of its part, in which resource and time stand, is
    the id. The types are category and type, e.g. ``CONTACT.UPDATE``. The key looks like base64 and is used as text.
    """

    name = "xero"
    summary = "Xero webhooks"
    docs_url = "https://developer.xero.com/documentation/guides/webhooks/configuring-your-server/"
    certainty = "official formula"
    handshake = 'passes "intent to receive", signed'
    credential = "the app's webhooks key: My Apps, the app, Webhooks"
    response = (200, b"", "text/plain; charset=utf-8")
    refuses_bare = True
    layout = Layout(header="x-xero-signature")
    encoding = "base64"
    items = "/events"
    item = Reads(
        type=Joined(("body:/eventCategory", "body:/eventType")),
        occurred_at="body:/eventDateUtc",
        subject="body:/resourceId",
    )
    sample_type = "CONTACT.UPDATE"
    sample_body = {
        "events": [
            {
                "resourceUrl": "https://api.xero.com/api.xro/2.0/Contacts/717f2bfc-c6d4-41fd-b238-3f2f0c0cf777",
                "resourceId": "717f2bfc-c6d4-41fd-b238-3f2f0c0cf777",
                "eventDateUtc": "2026-09-21T14:13:20.000",
                "eventType": "UPDATE",
                "eventCategory": "CONTACT",
                "tenantId": "c2cc9b6e-9458-4c7d-93cc-f02b81b0594f",
                "tenantType": "ORGANISATION",
            }
        ],
        "lastEventSequence": 1,
        "firstEventSequence": 1,
        "entropy": "S0m3r4Nd0mt3xt",
    }

    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        """The id becomes that of the resource: without an id, that is what tells one sample from another."""
        body = super().sample(type, external_id=external_id)
        if external_id is None:
            return body
        resource = Reads(id="body:/resourceId")
        changed = resource.write_body(msgspec.json.decode(body), external_id, "", below=f"{self.items}/0")
        return msgspec.json.encode(changed)


PACK: Final[Pack] = Xero()
