"""Jira Cloud: the header names the method of its signature, as WebSub does."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack


class Jira(SignedPack):
    """Signed are the webhooks of an administrator that were given a secret; those of Connect apps carry a JWT instead.

    The header may name another method than ``sha256`` some day: that is refused until it is known to be safe. A retry keeps
    its identifier, which is not signed and unique within one Jira site only: give each site a provider of its own.
    """

    name = "jira"
    summary = "Jira Cloud webhooks that an administrator made"
    docs_url = "https://developer.atlassian.com/cloud/jira/platform/webhooks/"
    certainty = "official example"
    credential = "the webhook's secret: Settings, System, WebHooks, the webhook"
    id_is_signed = False
    layout = Layout(header="x-hub-signature")
    prefix = "sha256="
    reads = Reads(
        id="header:x-atlassian-webhook-identifier",
        type="body:/webhookEvent",
        occurred_at="body:/timestamp",
        subject="body:/issue/key",
    )
    sample_type = "jira:issue_updated"
    sample_body = {
        "timestamp": 1_790_000_000_000,
        "webhookEvent": "jira:issue_updated",
        "issue_event_type_name": "issue_generic",
        "user": {"accountId": "sample0001", "displayName": "Ada Lovelace"},
        "issue": {"id": "10002", "key": "OPS-42", "fields": {"summary": "The build is red"}},
        "changelog": {
            "id": "10124",
            "items": [{"field": "status", "fromString": "To Do", "toString": "Done"}],
        },
    }


PACK: Final[Pack] = Jira()
