"""Asana: several events a request, and a handshake that hands over the secret."""

from __future__ import annotations

import re
from typing import Final

from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Joined, Reads
from surehook.packs.request import BadSignature, Request
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack
from surehook.packs.verdicts import Challenge

HANDED_OVER: Final = "x-hook-secret"
SIGNATURE: Final = "x-hook-signature"
_FITTING: Final = re.compile(r"[!-~]{16,255}")


class Asana(SignedPack):
    """Asana makes a secret for each webhook and hands it over with the first request.

    Name a file that does not exist yet, ``secrets = ["file:/var/lib/surehook/asana"]``, start Surehook, then create the
    webhook: the secret is kept in that file. Whoever posts first fills it, so do both one after the other. A second
    webhook needs a provider of its own. Events have no id: one that comes again is known by its bytes. A request without
    events is Asana's heartbeat.
    """

    name = "asana"
    summary = "Asana webhooks"
    docs_url = "https://developers.asana.com/docs/webhooks-guide"
    credential = (
        "a file that does not exist yet (file:PATH): Asana hands the secret over when the webhook is made"
    )
    handshake = "takes the secret of `X-Hook-Secret`, once"
    learns_secret = True
    layout = Layout(header=SIGNATURE)
    items = "/events"
    item = Reads(
        type=Joined(("body:/resource/resource_type", "body:/action")),
        subject="body:/resource/gid",
        occurred_at="body:/created_at",
    )
    sample_type = "task.changed"
    sample_body = {
        "events": [
            {
                "user": {"gid": "1200000000000001", "resource_type": "user"},
                "created_at": "2026-09-21T14:13:20.000Z",
                "action": "changed",
                "resource": {
                    "gid": "1200000000000002",
                    "resource_type": "task",
                    "resource_subtype": "default_task",
                },
                "parent": None,
                "change": {"field": "name", "action": "changed"},
            }
        ]
    }

    def greet(self, request: Request, setup: Setup) -> Challenge | None:
        if request.header(HANDED_OVER) is None or request.header(SIGNATURE) is not None:
            return None
        if setup.vacancy is None:
            raise BadSignature("no handshake is expected: a secret is known")
        secret = request.only(HANDED_OVER)
        if not _FITTING.fullmatch(secret):
            raise BadSignature("the handshake's secret is not written as it should be")
        return Challenge(200, headers=(("X-Hook-Secret", secret),), kind="handshake", secret=secret)


PACK: Final[Pack] = Asana()
