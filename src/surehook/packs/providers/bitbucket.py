"""Bitbucket Cloud: the signature covers the body alone; the id and the event's name travel in headers beside it."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack


class Bitbucket(SignedPack):
    """Only webhooks that were given a secret are signed: one without it is refused.

    The external id is that of the request, and it is not signed. Data Center sends other headers: use the pack ``hmac``.
    """

    name = "bitbucket"
    summary = "Bitbucket Cloud webhooks of repositories and workspaces"
    docs_url = "https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/"
    certainty = "official example"
    credential = "the webhook's secret: Repository settings, Webhooks, the webhook"
    id_is_signed = False
    layout = Layout(header="x-hub-signature")
    prefix = "sha256="
    reads = Reads(id="header:x-request-uuid", type="header:x-event-key", subject="body:/repository/full_name")
    sample_type = "repo:push"
    sample_body = {
        "push": {
            "changes": [
                {
                    "new": {
                        "type": "branch",
                        "name": "main",
                        "target": {"type": "commit", "hash": "709d658dc5b6d6afcd46049c2f332ee3f515a67d"},
                    },
                    "old": None,
                    "created": True,
                    "forced": False,
                    "closed": False,
                }
            ]
        },
        "repository": {
            "type": "repository",
            "uuid": "{673a6070-3421-46c9-9d48-90745f7bfe8e}",
            "full_name": "sample-team/sample-repo",
        },
        "actor": {"type": "user", "display_name": "Ada Lovelace"},
    }


PACK: Final[Pack] = Bitbucket()
