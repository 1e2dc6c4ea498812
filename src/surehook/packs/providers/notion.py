"""Notion: the first request hands over the token that signs all later ones."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Reads
from surehook.packs.reading import FAULTS, decode
from surehook.packs.request import BadSignature, Request
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack
from surehook.packs.verdicts import Challenge
from surehook.secrets import Secret

_TOKEN: Final = re.compile(r"secret_[A-Za-z0-9]{8,120}")


class _First(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    verification_token: str


_FIRST: Final = msgspec.json.Decoder(_First)


class Notion(SignedPack):
    """Notion hands its verification token over with the first request, and signs every later one with it.

    Name a file that does not exist yet, ``secrets = ["file:/var/lib/surehook/notion"]``, start Surehook, then create the
    subscription: the token is kept in that file, and Notion asks you for it. Whoever posts first fills it, so do both one
    after the other. A token that you have already works like any other secret.
    """

    name = "notion"
    summary = "Notion webhooks"
    docs_url = "https://developers.notion.com/reference/webhooks"
    certainty = "official library"
    credential = (
        "a file that does not exist yet (file:PATH): Notion sends the token, which you paste into Notion"
    )
    handshake = "takes the `verification_token`, once"
    learns_secret = True
    layout = Layout(header="x-notion-signature")
    prefix = "sha256="
    any_case = True
    reads = Reads(id="body:/id", type="body:/type", subject="body:/entity/id", occurred_at="body:/timestamp")
    sample_type = "page.content_updated"
    sample_body = {
        "id": "367cba44-b6f3-4c92-81e7-6a2e9659efd4",
        "timestamp": "2026-09-21T14:13:20.000Z",
        "workspace_id": "13950b26-c203-4f3b-b97d-93ec06319565",
        "subscription_id": "29d75c0d-5546-4414-8459-7b7a92f1fc4b",
        "integration_id": "0ef2e755-4912-8096-91c1-00376a88a5ca",
        "type": "page.content_updated",
        "authors": [{"id": "c7c11cca-1d73-471d-9b6e-bdef51470190", "type": "person"}],
        "attempt_number": 1,
        "entity": {"id": "153104cd-477e-809d-8dc4-ff2d96ae3090", "type": "page"},
        "data": {"updated_blocks": [{"id": "153104cd-477e-80ec-a87d-f7ff0236d35c", "type": "block"}]},
    }

    def greet(self, request: Request, setup: Setup) -> Challenge | None:
        if b"verification_token" not in request.body:
            return None
        try:
            token = decode(_FIRST, request.body).verification_token
        except FAULTS:
            return None
        if setup.vacancy is None:
            raise BadSignature("no handshake is expected: a secret is known")
        if not _TOKEN.fullmatch(token):
            raise BadSignature("the handshake's token is not written as it should be")
        if request.header("x-notion-signature") is not None:  # it signs itself, where it is signed
            self.scheme(Setup(setup.settings, [Secret(token)])).verify(request)
        return Challenge(200, kind="verification token", secret=token)


PACK: Final[Pack] = Notion()
