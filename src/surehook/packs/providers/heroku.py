"""Heroku app webhooks: one signature of the body, everything else in the body."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Joined, Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack


class Heroku(SignedPack):
    """The types are entity and action, e.g. ``api:release.create``.

    Heroku may also send a token in ``Authorization``: it is not looked at, since the signature proves more. Webhooks at
    level ``notify`` are not repeated when they are refused: subscribe at level ``sync``.
    """

    name = "heroku"
    summary = "Heroku app webhooks"
    docs_url = "https://devcenter.heroku.com/articles/app-webhooks"
    certainty = "official formula"
    credential = "the webhook's secret: the app, More, View webhooks; or what `heroku webhooks:add` printed"
    layout = Layout(header="heroku-webhook-hmac-sha256")
    encoding = "base64"
    reads = Reads(
        id="body:/webhook_metadata/event/id",
        type=Joined(("body:/webhook_metadata/event/include", "body:/action")),
        occurred_at="body:/created_at",
        subject="body:/data/id",
    )
    sample_type = "api:release.create"
    sample_body = {
        "action": "create",
        "actor": {"email": "ada@example.com", "id": "92e993a1-ccea-4bb3-9a2f-1d8a5a5f35b1"},
        "created_at": "2026-09-21T14:13:20Z",
        "data": {
            "id": "36fc3e6e-9d06-4e0e-a7a5-9d1c7a4dd9b9",
            "app": {"id": "67a6b8a2-6c4b-4b10-8c0e-2a0a6e9d4e17", "name": "sample-app"},
            "description": "Deploy 8a7b6c5d",
            "status": "succeeded",
            "version": 12,
        },
        "previous_data": {},
        "published_at": "2026-09-21T14:13:20Z",
        "resource": "release",
        "sequence": None,
        "updated_at": "2026-09-21T14:13:20Z",
        "version": "application/vnd.heroku+json; version=3",
        "webhook_metadata": {
            "attempt": {"id": "a0f6c6b6-7a3e-4f9b-9d5f-3f8f6c1f8d11"},
            "delivery": {"id": "f4d8a3b2-0c55-4f3d-8a5e-58cbb6a2ae73"},
            "event": {"id": "a9dbd9a4-7a8b-4b48-9d6c-0e4f1d6f2b60", "include": "api:release"},
            "webhook": {"id": "b1f3b5f0-8f0c-4ef5-9f51-3d8d0f7a4c52"},
        },
    }


PACK: Final[Pack] = Heroku()
