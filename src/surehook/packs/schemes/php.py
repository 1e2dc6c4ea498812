"""A form that is signed in one of its own fields, over PHP's ``serialize`` of the others in the order of their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlencode

from surehook.errors import InvalidRequest
from surehook.packs.reading import form
from surehook.packs.request import BadSignature, Delivery, Draft, Request
from surehook.packs.schemes.keys import Key

FORM: Final = "application/x-www-form-urlencoded"


class SerializedForm:
    """The signature stands in ``field``. What is signed are the values, so the form may be written in any way.

    A field that is there twice is refused: which of them PHP takes is not for a signature to depend on.
    """

    def __init__(self, field: str, keys: Sequence[Key]) -> None:
        self._field = field
        self._keys = keys

    def verify(self, request: Request) -> str:
        try:
            fields = form(request.body)
        except ValueError as error:
            raise BadSignature(f"the body is no form that can be verified: {error}") from None
        signature = fields.pop(self._field, None)
        if signature is None:
            raise BadSignature(f"the form has no field {self._field}")
        parts = [serialized(fields)]
        for key in self._keys:
            if key.matches(parts, [signature.encode()]):
                return key.reference
        raise BadSignature(f"no live secret made the signature in {self._field}", parts)

    def sign(self, draft: Draft) -> Delivery:
        try:
            fields = form(draft.body)
        except ValueError as error:
            raise InvalidRequest(f"the body must be a form: {error}") from None
        fields.pop(self._field, None)
        signature = self._keys[0].sign([serialized(fields)]).decode()
        body = urlencode({**fields, self._field: signature}).encode()
        return Delivery({"content-type": FORM}, body, draft.query, draft.method)


def serialized(fields: Mapping[str, str]) -> bytes:
    """An array of strings as PHP's ``serialize`` writes it after ``ksort``. Lengths are of bytes."""
    pairs = sorted((name.encode(), value.encode()) for name, value in fields.items())
    return b"a:%d:{%s}" % (len(pairs), b"".join([_text(name) + _text(value) for name, value in pairs]))


def _text(value: bytes) -> bytes:
    return b's:%d:"%s";' % (len(value), value)
