"""Signatures of the body in several headers, of which any is enough: senders add one for each of their keys."""

from __future__ import annotations

from collections.abc import Sequence

from surehook.packs.request import BadSignature, Delivery, Draft, Request
from surehook.packs.schemes.keys import Key
from surehook.packs.schemes.layout import MAX_CANDIDATES


class SeveralHeaders:
    """Each header holds one signature of the body alone; the first of them signs.

    ``headers`` in lower case. ``repeats``: a header may be there more than once; else that is refused. A key's prefix may be
    missing before a signature.
    """

    def __init__(self, headers: Sequence[str], keys: Sequence[Key], *, repeats: bool = False) -> None:
        self._headers = headers
        self._names = frozenset(headers)
        self._keys = keys
        self._repeats = repeats
        self._most = max(len(headers), MAX_CANDIDATES)

    def verify(self, request: Request) -> str:
        values = self._values(request)
        for key in self._keys:
            candidates = [value.removeprefix(key.prefix).encode("latin-1", "replace") for value in values]
            if key.matches([request.body], candidates):
                return key.reference
        raise BadSignature(f"no live secret made a signature in {self._headers[0]}", [request.body])

    def sign(self, draft: Draft) -> Delivery:
        key = self._keys[0]
        headers = {self._headers[0]: key.prefix + key.sign([draft.body]).decode()}
        return Delivery(headers, draft.body, draft.query, draft.method)

    def _values(self, request: Request) -> Sequence[str]:
        found = [pair for pair in request.headers if pair[0] in self._names]
        names = [name for name, _ in found]
        if len(set(names)) < len(names) and not self._repeats:
            raise BadSignature(f"a header like {self._headers[0]} is repeated")
        if len(found) > self._most:
            raise BadSignature(f"more than {self._most} signatures in headers like {self._headers[0]}")
        values = [value for _, value in found if value]
        if not values:
            raise BadSignature(f"the header {self._headers[0]} is missing or empty")
        return values
