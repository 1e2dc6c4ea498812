"""How a request proves that it comes from the sender who knows the secret: one file a family of schemes."""

from __future__ import annotations

from typing import Protocol

from surehook.packs.request import Delivery, Draft, Request


class Scheme(Protocol):
    """How a request is verified, and how one is signed the same way."""

    def verify(self, request: Request) -> str:
        """The reference of the secret that verified it. Raises BadSignature for everything else."""
        ...

    def sign(self, draft: Draft) -> Delivery:
        """The delivery that ``verify`` accepts; of its headers only those that the signature needs.

        Raises InvalidRequest when there is nothing to sign with: a public key alone.
        """
        ...
