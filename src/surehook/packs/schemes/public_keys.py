"""Keys in two halves: a secret is the public one, which verifies, or the private one, which can sign as well.

A public key is no secret, but stands where secrets stand, so that it is replaced as they are. It is given as its sender
shows it: PEM, base64 of its DER form or, for Ed25519, hex digits. A private key (PEM; for Ed25519 also the hex digits of
seed and public key) is of one's own making: a sender never hands out theirs, so it serves to sign trial deliveries.
"""

from __future__ import annotations

import base64
import binascii
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from surehook.errors import ConfigurationError, InvalidRequest
from surehook.packs.schemes.keys import Ed25519Key
from surehook.secrets import Secret

#: Bits of the weakest RSA key that is taken.
WEAKEST_RSA: Final = 2048
#: By the names that packs use. SHA-1 is not for new schemes: Paddle Classic and the first version of SNS sign with it.
HASHES: Final[dict[str, Callable[[], hashes.HashAlgorithm]]] = {"sha256": hashes.SHA256, "sha1": hashes.SHA1}

#: What the loaders of cryptography raise for text that is no key.
_NO_KEY: Final = (ValueError, TypeError, UnsupportedAlgorithm)

Private = TypeVar("Private")


class TwoHalvesKey(ABC):
    """A key whose signatures are base64, in one spelling only; ``matches`` and ``sign`` are those of ``Key``."""

    def __init__(self, reference: str, prefix: str = "") -> None:
        self.reference = reference
        self.prefix = prefix

    def matches(self, parts: Sequence[bytes], candidates: Sequence[bytes]) -> bool:
        signed = b"".join(parts)
        return any(self._matches(signed, candidate) for candidate in candidates)

    def sign(self, parts: Sequence[bytes]) -> bytes:
        return base64.b64encode(self.make(b"".join(parts)))

    def _matches(self, signed: bytes, candidate: bytes) -> bool:
        try:
            signature = base64.b64decode(candidate, validate=True)
        except binascii.Error:
            return False
        return base64.b64encode(signature) == candidate and self.verifies(signed, signature)

    @abstractmethod
    def verifies(self, signed: bytes, signature: bytes) -> bool:
        """Whether these bytes are a signature of those."""

    @abstractmethod
    def make(self, signed: bytes) -> bytes:
        """A signature. Raises InvalidRequest for a public key alone."""


class EcdsaKey(TwoHalvesKey):
    """ECDSA on P-256 with SHA-256; a signature is DER, or with ``fixed`` both numbers in 32 bytes each, as JOSE has it."""

    def __init__(
        self,
        reference: str,
        public: ec.EllipticCurvePublicKey,
        private: ec.EllipticCurvePrivateKey | None = None,
        *,
        prefix: str = "",
        fixed: bool = False,
    ) -> None:
        super().__init__(reference, prefix)
        self._public = public
        self._private = private
        self._fixed = fixed

    def verifies(self, signed: bytes, signature: bytes) -> bool:
        try:
            der = _der_of(signature) if self._fixed else signature
            # one spelling: BER that is no DER is refused
            if encode_dss_signature(*decode_dss_signature(der)) != der:
                return False
            self._public.verify(der, signed, ec.ECDSA(hashes.SHA256()))
        except (ValueError, InvalidSignature):
            return False
        return True

    def make(self, signed: bytes) -> bytes:
        der = _own(self._private).sign(signed, ec.ECDSA(hashes.SHA256()))
        if not self._fixed:
            return der
        return b"".join([number.to_bytes(32, "big") for number in decode_dss_signature(der)])


class RsaKey(TwoHalvesKey):
    """RSA with the padding of PKCS #1 version 1.5 and SHA-256 or SHA-1."""

    def __init__(
        self,
        reference: str,
        public: rsa.RSAPublicKey,
        private: rsa.RSAPrivateKey | None = None,
        *,
        prefix: str = "",
        algorithm: str = "sha256",
    ) -> None:
        super().__init__(reference, prefix)
        self._public = public
        self._private = private
        self._hash = HASHES[algorithm]()

    def verifies(self, signed: bytes, signature: bytes) -> bool:
        try:
            self._public.verify(signature, signed, padding.PKCS1v15(), self._hash)
        except InvalidSignature:
            return False
        return True

    def make(self, signed: bytes) -> bytes:
        return _own(self._private).sign(signed, padding.PKCS1v15(), self._hash)


def _own(private: Private | None) -> Private:
    if private is None:
        raise InvalidRequest("a public key verifies but cannot sign: give the private key")
    return private


def _der_of(signature: bytes) -> bytes:
    if len(signature) != 64:
        raise ValueError("it has not 64 bytes")
    return encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))


def ecdsa_key(secret: Secret, *, prefix: str = "") -> EcdsaKey:
    """The key of a secret: PEM, or base64 of the public key's DER form. Raises ConfigurationError for anything else."""
    found = load_key(secret.reveal())
    private = found if isinstance(found, ec.EllipticCurvePrivateKey) else None
    public = found if private is None else private.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise _malformed(secret, "a key on the curve P-256, as PEM or as the base64 of a public key,")
    return EcdsaKey(secret.reference, public, private, prefix=prefix)


def rsa_key(secret: Secret, *, prefix: str = "", algorithm: str = "sha256") -> RsaKey:
    """The key of a secret: PEM, or base64 of the public key's DER form.

    Raises ConfigurationError for anything else, and for a key of less than 2048 bits.
    """
    found = load_key(secret.reveal())
    private = found if isinstance(found, rsa.RSAPrivateKey) else None
    public = found if private is None else private.public_key()
    if not isinstance(public, rsa.RSAPublicKey) or public.key_size < WEAKEST_RSA:
        raise _malformed(
            secret, f"an RSA key of {WEAKEST_RSA} bits or more, as PEM or as the base64 of a public key,"
        )
    return RsaKey(secret.reference, public, private, prefix=prefix, algorithm=algorithm)


def ed25519_key(secret: Secret, *, prefix: str = "", encoding: str = "base64") -> Ed25519Key:
    """The key of a secret: PEM, base64 of the public key's DER form, or hex digits.

    64 of them are a public key; 128 are a seed and the public key that it gives. Raises ConfigurationError for anything
    else.
    """
    data = _hex(secret.reveal())
    found = load_key(secret.reveal()) if data is None else _ed25519(data)
    private = found if isinstance(found, Ed25519PrivateKey) else None
    public = found if private is None else private.public_key()
    if not isinstance(public, Ed25519PublicKey):
        raise _malformed(
            secret,
            "an Ed25519 key, as hex digits (64 for a public key, 128 for a seed and its public key) or PEM,",
        )
    return Ed25519Key(secret.reference, public, private, prefix=prefix, encoding=encoding)


def _hex(text: str) -> bytes | None:
    try:
        return binascii.unhexlify(text)
    except ValueError:
        return None


def _ed25519(data: bytes) -> object:
    if len(data) == 32:
        return Ed25519PublicKey.from_public_bytes(data)
    private = Ed25519PrivateKey.from_private_bytes(data[:32]) if len(data) == 64 else None
    # a public key that belongs to another seed is a sign of a bad copy
    return private if private and private.public_key().public_bytes_raw() == data[32:] else None


def load_key(text: str) -> object:
    """The key in PEM, private or public, or a public one in base64; None when there is none."""
    try:
        if "-----BEGIN" not in text:
            compact = "".join(text.split())
            return serialization.load_der_public_key(base64.b64decode(compact, validate=True))
        if "PRIVATE KEY-----" in text:
            return serialization.load_pem_private_key(text.encode(), None)
        return serialization.load_pem_public_key(text.encode())
    except _NO_KEY:
        return None


def _malformed(secret: Secret, wanted: str) -> ConfigurationError:
    return ConfigurationError(
        f"the secret {secret.reference} is malformed: {wanted} is needed, copied in full"
    )
