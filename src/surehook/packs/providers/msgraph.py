"""Microsoft Graph change notifications: a text of yours comes back in every item, and a token before the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from surehook.errors import InvalidRequest
from surehook.packs.handshakes import text_answer
from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Reads
from surehook.packs.reading import FAULTS, decode, parameter
from surehook.packs.request import BadSignature, Delivery, Draft, Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.shared import digests, match
from surehook.packs.verdicts import Challenge
from surehook.secrets import Secret


class _Item(msgspec.Struct, frozen=True, rename="camel"):
    client_state: str


class _Notification(msgspec.Struct, frozen=True):
    value: list[_Item]


_NOTIFICATION = msgspec.json.Decoder(_Notification)
_OPEN = msgspec.json.Decoder(dict[str, Any])


class ClientStateScheme:
    """Every item must hold a live secret: one that does not makes the request somebody else's."""

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._secrets = secrets
        self._digests = digests(secrets)

    def verify(self, request: Request) -> str:
        try:
            items = decode(_NOTIFICATION, request.body).value
        except FAULTS:
            raise BadSignature("the body holds no value whose items all have a clientState") from None
        if not items:
            raise BadSignature("the body holds no item, so nothing shows who sends it")
        references = [match(_bytes(item), self._digests, "a clientState") for item in items]
        return references[0]

    def sign(self, draft: Draft) -> Delivery:
        body, state = _opened(draft.body), self._secrets[0].reveal()
        items = [{**item, "clientState": state} for item in body["value"]]
        signed = msgspec.json.encode({**body, "value": items})
        return Delivery({}, signed, draft.query, draft.method)


def _bytes(item: _Item) -> str:
    """The text's UTF-8 as headers are handed over, which is what is compared."""
    return item.client_state.encode("utf-8", "replace").decode("latin-1")


def _opened(data: bytes) -> dict[str, Any]:
    try:
        body = decode(_OPEN, data)
    except FAULTS as fault:
        raise InvalidRequest(
            f"the body must be a JSON object, into which clientState goes: {fault}"
        ) from fault
    items = body.get("value")
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise InvalidRequest("the body must hold a list, value, of the objects into which clientState goes")
    return body


class MsGraph(Pack):
    """``clientState`` proves who sends, not that the body is unchanged. Stored with the body, it should open nothing else.

    Most notifications have no id, and some, of drives for example, are alike to the letter although something else has
    changed: so each delivery is an event of its own, and one that is sent again arrives twice. Let handlers read the
    resource as it is then. ``validationTokens`` of rich notifications are not verified, encrypted content is not opened.
    """

    name = "msgraph"
    summary = "Microsoft Graph change and lifecycle notifications; answers the validation of the address"
    docs_url = "https://learn.microsoft.com/graph/change-notifications-delivery-webhooks"
    proof = "`clientState` of each event equals a secret"
    credential = "the clientState that you gave when you made the subscription, at most 128 characters"
    bodies_repeat = True
    items = "/value"
    item = Reads(id="body:/id", type=("body:/changeType", "body:/lifecycleEvent"), subject="body:/resource")
    sample_type = "created"
    sample_body = {
        "value": [
            {
                "subscriptionId": "76619225-ff6b-4e81-9d4c-8a1b7a4f0e21",
                "subscriptionExpirationDateTime": "2026-09-24T14:13:20.000Z",
                "changeType": "created",
                "resource": "Users/622eaaff-0683-4862-9de4-f2ec83c2bd98/Messages/AAMkAGUwNjQ4Sample",
                "resourceData": {"@odata.type": "#Microsoft.Graph.Message", "id": "AAMkAGUwNjQ4Sample"},
                "clientState": "the text that you gave",
                "tenantId": "84bd8158-6d4d-4958-8b9f-9d6445542f95",
            }
        ]
    }

    def scheme(self, setup: Setup) -> Scheme:
        return ClientStateScheme(setup.secrets)

    def greet(self, request: Request, setup: Setup) -> Challenge | None:
        token = None if request.body else parameter(request, "validationToken")
        return None if token is None else text_answer(token, "validation token")


PACK: Final[Pack] = MsGraph()
