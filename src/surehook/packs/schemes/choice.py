"""Several schemes of one sender: a request says by its headers which of them is meant, and that one decides."""

from __future__ import annotations

from collections.abc import Sequence

from surehook.packs.request import BadSignature, Delivery, Draft, Request
from surehook.packs.schemes import Scheme


class ByHeader:
    """The first scheme whose header is there decides alone: a good weaker signature never saves a bad stronger one.

    ``schemes`` are pairs of a header, in lower case, and the scheme it stands for, the strongest first; it signs.
    """

    def __init__(self, schemes: Sequence[tuple[str, Scheme]]) -> None:
        self._schemes = schemes

    def verify(self, request: Request) -> str:
        for header, scheme in self._schemes:
            if request.header(header) is not None:
                return scheme.verify(request)
        wanted = " or ".join(header for header, _ in self._schemes)
        raise BadSignature(f"the header {wanted} is missing")

    def sign(self, draft: Draft) -> Delivery:
        return self._schemes[0][1].sign(draft)
