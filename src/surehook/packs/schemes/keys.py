"""Live secrets, ready for use: each kind of key verifies and, where it can, signs."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from surehook.errors import InvalidRequest
from surehook.mac import Hmac

ALGORITHMS = ("sha256", "sha1", "sha512")
ENCODINGS = ("hex", "base64")


class Key(Protocol):
    """One live secret."""

    @property
    def reference(self) -> str:
        """Where the secret came from."""
        ...

    @property
    def prefix(self) -> str:
        """What stands before each of its signatures."""
        ...

    def matches(self, parts: Sequence[bytes], candidates: Sequence[bytes]) -> bool:
        """Whether one of the candidates is the signature of the joined parts."""
        ...

    def sign(self, parts: Sequence[bytes]) -> bytes:
        """The signature of the joined parts, encoded. Raises InvalidRequest for a key that can only verify."""
        ...


class HmacKey:
    """HMAC, in the encoding and after the prefix that the sender uses.

    ``any_case``: its library takes hex digits of both cases, so the sender may change to the other one.
    """

    def __init__(
        self,
        reference: str,
        key: bytes,
        *,
        algorithm: str = "sha256",
        encoding: str = "hex",
        prefix: str = "",
        any_case: bool = False,
    ) -> None:
        self.reference = reference
        self.prefix = prefix
        self._base64 = encoding == "base64"
        self._any_case = any_case
        self._hmac = Hmac(key, algorithm)

    def sign(self, parts: Sequence[bytes]) -> bytes:
        digest = self._hmac.digest(parts)
        return base64.b64encode(digest) if self._base64 else digest.hex().encode()

    def matches(self, parts: Sequence[bytes], candidates: Sequence[bytes]) -> bool:
        expected = self.sign(parts)
        if self._any_case:
            candidates = [candidate.lower() for candidate in candidates]
        return any(hmac.compare_digest(expected, candidate) for candidate in candidates)


class Ed25519Key:
    """An Ed25519 key pair, or the public half alone, which verifies but cannot sign. Signatures are base64, or hex."""

    def __init__(
        self,
        reference: str,
        public: Ed25519PublicKey,
        private: Ed25519PrivateKey | None = None,
        *,
        prefix: str = "",
        encoding: str = "base64",
    ) -> None:
        self.reference = reference
        self.prefix = prefix
        self._public = public
        self._private = private
        self._hex = encoding == "hex"

    def sign(self, parts: Sequence[bytes]) -> bytes:
        if self._private is None:
            raise InvalidRequest("a public key verifies but cannot sign: give the private key")
        return self._encoded(self._private.sign(b"".join(parts)))

    def matches(self, parts: Sequence[bytes], candidates: Sequence[bytes]) -> bool:
        signed = b"".join(parts)
        return any(self._verifies(signed, candidate) for candidate in candidates)

    def _verifies(self, signed: bytes, candidate: bytes) -> bool:
        try:
            signature = self._decoded(candidate)
            self._public.verify(signature, signed)
        except (binascii.Error, InvalidSignature):
            return False
        return self._hex or self._encoded(signature) == candidate

    def _decoded(self, candidate: bytes) -> bytes:
        return binascii.unhexlify(candidate) if self._hex else base64.b64decode(candidate, validate=True)

    def _encoded(self, signature: bytes) -> bytes:
        return signature.hex().encode() if self._hex else base64.b64encode(signature)
