"""Dropbox: a notification that files of some accounts changed; what changed is fetched from the API."""

from __future__ import annotations

import re
from typing import Final

from surehook.packs.pack import Pack, Setup
from surehook.packs.reading import parameter
from surehook.packs.request import Request
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack
from surehook.packs.verdicts import Challenge

#: What may be a challenge: nothing that a page could be made of, since the answer is what anyone may ask for.
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,255}")


class Dropbox(SignedPack):
    """A notification names the accounts only: list their folders from your last cursor on.

    Equal bodies tell of different changes, and there is no id: each delivery is an event, so a repeated one runs again, and
    handlers must not mind. There is no type either: it is the topic of the URL. The challenge, by GET, is not signed: it is
    answered as plain text that no browser takes for a page. Dropbox waits ten seconds.
    """

    name = "dropbox"
    summary = "Dropbox notifications of changed files"
    docs_url = "https://www.dropbox.com/developers/reference/webhooks"
    certainty = "official formula"
    credential = "the app secret: App Console, the app, Settings"
    bodies_repeat = True
    methods = frozenset({"POST", "GET"})
    layout = Layout(header="x-dropbox-signature")
    sample_type = "dropbox"
    sample_body = {
        "list_folder": {"accounts": ["dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc"]},
        "delta": {"users": [12345678]},
    }

    def greet(self, request: Request, setup: Setup) -> Challenge | None:
        text = parameter(request, "challenge") if request.method == "GET" else None
        if text is None or not _CHALLENGE.fullmatch(text):
            return None
        return Challenge(200, text.encode(), headers=(("X-Content-Type-Options", "nosniff"),))


PACK: Final[Pack] = Dropbox()
