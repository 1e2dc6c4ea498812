"""WorkOS: time and signature in one header, everything else in the body."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.schemes.moments import MILLISECONDS
from surehook.packs.signed import SignedPack


class WorkOS(SignedPack):
    """The signed time is in milliseconds, and a space follows the comma behind it. It may be three minutes old at most."""

    name = "workos"
    summary = "WorkOS webhooks of directories, connections and users"
    docs_url = "https://workos.com/docs/events/data-syncing/webhooks"
    certainty = "official library"
    credential = "the endpoint's secret: Developer, Webhooks, the endpoint"
    layout = Layout(
        header="workos-signature",
        signed="{timestamp}.{body}",
        separator=", ",
        timestamp_item="t=",
        unit=MILLISECONDS,
    )
    prefix = "v1="
    tolerance = 180
    reads = Reads(id="body:/id", type="body:/event", occurred_at="body:/created_at", subject="body:/data/id")
    sample_type = "dsync.user.created"
    sample_body = {
        "id": "event_01SAMPLESUREHOOK000000001",
        "event": "dsync.user.created",
        "data": {
            "object": "directory_user",
            "id": "directory_user_01SAMPLE0000000001",
            "directory_id": "directory_01SAMPLE0000000001",
            "organization_id": "org_01SAMPLE0000000001",
            "idp_id": "8931",
            "emails": [{"primary": True, "type": "work", "value": "ada@example.com"}],
            "first_name": "Ada",
            "last_name": "Lovelace",
            "state": "active",
            "created_at": "2026-09-21T14:13:20.000Z",
            "updated_at": "2026-09-21T14:13:20.000Z",
        },
        "created_at": "2026-09-21T14:13:20.000Z",
    }


PACK: Final[Pack] = WorkOS()
