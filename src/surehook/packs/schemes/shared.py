"""Schemes without a signature of the body: whoever knows the shared secret is believed."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

from surehook.errors import ConfigurationError
from surehook.packs.reading import parameter
from surehook.packs.request import BadSignature, Delivery, Draft, Request
from surehook.secrets import Secret


class TokenScheme:
    """A shared token in a header, sent as it is. Digests are compared, so that its length does not show either."""

    def __init__(self, header: str, secrets: Sequence[Secret], prefix: str = "") -> None:
        self._header = header
        self._prefix = prefix
        self._secrets = secrets
        self._digests = digests(secrets)

    def verify(self, request: Request) -> str:
        value = request.only(self._header)
        if not value.startswith(self._prefix):
            raise BadSignature(f"the header {self._header} does not begin as it should")
        return match(value[len(self._prefix) :], self._digests, f"the header {self._header}")

    def sign(self, draft: Draft) -> Delivery:
        headers = {self._header: self._prefix + self._secrets[0].reveal()}
        return Delivery(headers, draft.body, draft.query, draft.method)


class BasicScheme:
    """HTTP Basic authentication (RFC 7617). A secret is ``user:password``; its encoded form is what is compared."""

    HEADER = "authorization"

    def __init__(self, secrets: Sequence[Secret]) -> None:
        for secret in secrets:
            if ":" not in secret.reveal():
                raise ConfigurationError(f"the secret {secret.reference} must be of the form user:password")
        self._encoded = [
            Secret(base64.b64encode(secret.encode()).decode(), secret.reference) for secret in secrets
        ]
        self._digests = digests(self._encoded)

    def verify(self, request: Request) -> str:
        word, _, encoded = request.only(self.HEADER).partition(" ")
        if word.lower() != "basic":
            raise BadSignature("the header authorization is not of the Basic scheme")
        return match(encoded, self._digests, "the header authorization")

    def sign(self, draft: Draft) -> Delivery:
        headers = {self.HEADER: "Basic " + self._encoded[0].reveal()}
        return Delivery(headers, draft.body, draft.query, draft.method)


class BearerScheme:
    """A bearer token (RFC 6750) in the header ``authorization``, or as ``access_token`` in the query: in one of them."""

    HEADER = "authorization"
    PARAMETER = "access_token"

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._secrets = secrets
        self._digests = digests(secrets)

    def verify(self, request: Request) -> str:
        in_query = parameter(request, self.PARAMETER)
        if in_query is None:
            word, _, token = request.only(self.HEADER).partition(" ")
            if word.lower() != "bearer":
                raise BadSignature("the header authorization is not of the Bearer scheme")
            return match(token, self._digests, "the header authorization")
        if request.header(self.HEADER) is not None:
            raise BadSignature(
                "there is a token in the query and a header authorization: one of them is too many"
            )
        return match(in_query, self._digests, "access_token in the query")

    def sign(self, draft: Draft) -> Delivery:
        headers = {self.HEADER: "Bearer " + self._secrets[0].reveal()}
        return Delivery(headers, draft.body, draft.query, draft.method)


class NoScheme:
    """No verification at all: whoever reaches the port is believed."""

    def verify(self, request: Request) -> str:
        return ""

    def sign(self, draft: Draft) -> Delivery:
        return Delivery({}, draft.body, draft.query, draft.method)


def digests(secrets: Sequence[Secret]) -> Sequence[tuple[bytes, str]]:
    """Of each secret the digest to compare with, and its reference."""
    return [(hashlib.sha256(secret.encode()).digest(), secret.reference) for secret in secrets]


def match(given: str, known: Sequence[tuple[bytes, str]], what: str) -> str:
    """The reference of the secret that was given, in latin-1 text as headers are. Raises BadSignature."""
    digest = hashlib.sha256(given.encode("latin-1", "replace")).digest()
    for each, reference in known:
        if hmac.compare_digest(digest, each):
            return reference
    raise BadSignature(f"{what} matches no live secret")
