"""Linear: the signature covers the body, and the time of sending stands inside the body."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from surehook.errors import InvalidRequest
from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Joined, Reads
from surehook.packs.reading import FAULTS, NOTHING, decode
from surehook.packs.request import BadSignature, Delivery, Draft, Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.layout import Layout, check_time
from surehook.packs.schemes.moments import MILLISECONDS
from surehook.packs.signed import SignedPack

TIME: Final = "webhookTimestamp"


class _Timed(msgspec.Struct, frozen=True, rename={"at": TIME}):
    at: Raw = NOTHING


_TIMED = msgspec.json.Decoder(_Timed)
_OBJECT = msgspec.json.Decoder(dict[str, Raw])


class TimedBody:
    """The time in the body, and then the signature of it, so that every refusal costs the same; ``tolerance`` in seconds."""

    def __init__(self, signature: Scheme, tolerance: int) -> None:
        self._signature = signature
        self._tolerance = tolerance * 1000

    def verify(self, request: Request) -> str:
        try:
            sent = bytes(decode(_TIMED, request.body).at)
        except FAULTS:
            raise BadSignature(f"the body holds no {TIME}: it cannot be read") from None
        check_time(MILLISECONDS.read(sent.decode("latin-1")), request, self._tolerance)
        return self._signature.verify(request)

    def sign(self, draft: Draft) -> Delivery:
        try:
            members = decode(_OBJECT, draft.body)
        except FAULTS as fault:
            raise InvalidRequest(
                f"the body must be a JSON object, into which the time goes: {fault}"
            ) from fault
        body = msgspec.json.encode({**members, TIME: Raw(MILLISECONDS.write(draft.now).encode())})
        return self._signature.sign(msgspec.structs.replace(draft, body=body))


class Linear(SignedPack):
    """A delivery older than a minute is refused, and so is one without ``webhookTimestamp`` in its signed body.

    The header ``Linear-Timestamp`` is not signed and not looked at. ``Linear-Delivery``, the external id, is not signed
    either.
    """

    name = "linear"
    summary = "Linear webhooks of issues, comments and projects"
    docs_url = "https://linear.app/developers/webhooks"
    certainty = "official library"
    proof = "`linear-signature`: HMAC-SHA256 over body, hex; the time stands in the body"
    credential = "the webhook's signing secret (lin_wh_...): Settings, API, Webhooks, the webhook"
    settings = frozenset({"tolerance"})
    id_is_signed = False
    layout = Layout(header="linear-signature")
    tolerance = 60
    reads = Reads(
        id="header:linear-delivery",
        type=Joined(("body:/type", "body:/action")),
        subject="body:/data/id",
        occurred_at="body:/createdAt",
    )
    sample_type = "Issue.create"
    sample_body = {
        "action": "create",
        "type": "Issue",
        "createdAt": "2026-09-21T14:13:20.000Z",
        "data": {
            "id": "2174add1-f7c8-44e3-bbf3-2d60b5ea8bc9",
            "title": "The build is red",
            "teamId": "72b2a2dc-6f4f-4423-9d34-24b5bd10634a",
        },
        "url": "https://linear.app/sample/issue/ENG-7",
        "organizationId": "046b3d11-1f1b-4a4d-a1c5-0a8f6a3f0d54",
        "webhookTimestamp": 1_790_000_000_000,
        "webhookId": "d4f1c2a0-5f1e-4e3f-9d3a-0c1f6a1d7b11",
    }

    def scheme(self, setup: Setup) -> Scheme:
        return TimedBody(super().scheme(setup), setup.tolerance(self.tolerance))


PACK: Final[Pack] = Linear()
