"""Keys that senders publish: certificates, or sets of keys by their ids; fetched, or pinned by the settings.

A certificate's chain is not looked at. What makes it the sender's is that it was fetched from the sender's own host over
TLS, or that somebody has put it into the settings.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from surehook.clock import Millis
from surehook.errors import ConfigurationError, InvalidRequest
from surehook.packs.keystore import KeyStore
from surehook.packs.request import BadSignature, Found, KeySource
from surehook.packs.schemes.keys import Key
from surehook.packs.schemes.public_keys import WEAKEST_RSA, EcdsaKey, RsaKey, load_key
from surehook.secrets import Secret

#: A set of keys that lacks an id is asked for again when it is older than this, in milliseconds.
_STALE: Final = 60_000

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")


class Pair(NamedTuple):
    """A public key, and the private one where that is known too."""

    reference: str
    public: object
    private: object = None


class Jwk(msgspec.Struct, frozen=True):
    """A JSON Web Key (RFC 7517), as far as RSA and P-256 need it."""

    kty: str
    kid: str = ""
    crv: str = ""
    use: str = "sig"
    x: str = ""
    y: str = ""
    n: str = ""
    e: str = ""
    d: str = ""
    p: str = ""
    q: str = ""
    dp: str = ""
    dq: str = ""
    qi: str = ""
    #: Plaid: unix seconds of its end.
    expired_at: int | None = None

    def pair(self, reference: str = "") -> Pair | None:
        """The key, None for one of another kind. Raises ValueError for a malformed one."""
        if self.use == "sig" and self.kty == "RSA":
            return self._rsa(reference)
        return self._p256(reference) if (self.use, self.kty, self.crv) == ("sig", "EC", "P-256") else None

    def _rsa(self, reference: str) -> Pair:
        numbers = rsa.RSAPublicNumbers(_number(self.e), _number(self.n))
        if not self.d:
            return Pair(reference, numbers.public_key())
        p, q, d, dp, dq, qi = map(_number, (self.p, self.q, self.d, self.dp, self.dq, self.qi))
        return Pair(
            reference, numbers.public_key(), rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, numbers).private_key()
        )

    def _p256(self, reference: str) -> Pair:
        curve = ec.SECP256R1()
        public = ec.EllipticCurvePublicNumbers(_number(self.x), _number(self.y), curve)
        private = ec.EllipticCurvePrivateNumbers(_number(self.d), public).private_key() if self.d else None
        return Pair(reference, public.public_key(), private)


class _JwkSet(msgspec.Struct, frozen=True):
    keys: tuple[Jwk, ...]


_JWK_SET = msgspec.json.Decoder(_JwkSet)
_PEM_SET = msgspec.json.Decoder(dict[str, str])


def _number(text: str) -> int:
    if not _BASE64URL.fullmatch(text):
        raise ValueError("a number of the key is missing or malformed")
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


def certificate(body: bytes) -> Found:
    """The first certificate of a PEM file. Raises ValueError."""
    found = x509.load_pem_x509_certificates(body)[0]
    found.public_key()  # what cannot be used is to be told now
    return Found(found, _millis(found.not_valid_after_utc))


def check_validity(found: x509.Certificate, now: Millis) -> None:
    """Raise BadSignature unless a certificate is valid now."""
    if not _millis(found.not_valid_before_utc) <= now <= _millis(found.not_valid_after_utc):
        raise BadSignature("the sender's certificate is not valid now")


def _millis(at: datetime) -> Millis:
    return Millis(int(at.timestamp() * 1000))


def key_set(body: bytes) -> Found:
    """A JWKS, or certificates in PEM by their ids, as Google offers both: pairs by their ids. Raises ValueError."""
    try:
        named = {key.kid: key.pair() for key in _JWK_SET.decode(body).keys}
    except msgspec.ValidationError:
        certificates = {kid: certificate(pem.encode()).value for kid, pem in _PEM_SET.decode(body).items()}
        return Found({kid: Pair("", each.public_key()) for kid, each in certificates.items()})
    return Found({kid: pair for kid, pair in named.items() if pair is not None})


def key_by_id(store: KeyStore, source: KeySource, kid: object, now: Millis) -> Pair:
    """One of a published set of keys. Raises KeysNeeded, also for an id that may be new, and BadSignature."""
    keys: Mapping[object, Pair] = store.find(source, now)
    if not isinstance(kid, str):
        raise BadSignature("the token does not say which key signed it (kid)")
    if kid not in keys:
        keys = store.find(source, now, Millis(now - _STALE))
    if kid not in keys:
        raise BadSignature("the sender publishes no key of this id (kid)")
    return keys[kid]


def pinned_pairs(secrets: Sequence[Secret]) -> Sequence[Pair]:
    """The keys that the setting ``keys`` names: PEM with any number of blocks, or a JWKS. Raises ConfigurationError."""
    pairs = [pair for secret in secrets for pair in _pinned(secret)]
    # the one that can sign comes first, so that it does
    return sorted(pairs, key=lambda pair: pair.private is None)


def _pinned(secret: Secret) -> Sequence[Pair]:
    text = secret.reveal()
    try:
        if "-----BEGIN" in text:
            pairs = [_of_block(secret.reference, block) for block in _BLOCK.finditer(text)]
        else:
            jwks = [key.pair(secret.reference) for key in _JWK_SET.decode(text.encode()).keys]
            pairs = [pair for pair in jwks if pair is not None]
    except ValueError:
        pairs = []
    if not pairs:
        raise ConfigurationError(
            f"keys: {secret.reference} is malformed: certificates or keys as PEM are needed, or a JWKS, copied in full"
        )
    return pairs


def _of_block(reference: str, block: re.Match[str]) -> Pair:
    """Raises ValueError."""
    if block[1] == "CERTIFICATE":
        return Pair(reference, x509.load_pem_x509_certificate(block[0].encode()).public_key())
    found = load_key(block[0])
    if found is None:
        raise ValueError("it is no key")
    if isinstance(found, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        return Pair(reference, found.public_key(), found)
    return Pair(reference, found)


def rsa_keys(pairs: Sequence[Pair], algorithm: str = "sha256") -> Sequence[Key]:
    """The keys that sign with RSA, in 2048 bits or more; others are left out."""
    keys = []
    for reference, public, private in pairs:
        if isinstance(public, rsa.RSAPublicKey) and public.key_size >= WEAKEST_RSA:
            own = private if isinstance(private, rsa.RSAPrivateKey) else None
            keys.append(RsaKey(reference, public, own, algorithm=algorithm))
    return keys


def es256_keys(pairs: Sequence[Pair]) -> Sequence[Key]:
    """The keys that sign with ES256; others are left out."""
    keys = []
    for reference, public, private in pairs:
        if isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1):
            own = private if isinstance(private, ec.EllipticCurvePrivateKey) else None
            keys.append(EcdsaKey(reference, public, own, fixed=True))
    return keys


def signer(keys: Sequence[Key]) -> Key:
    """The key to sign with. Raises InvalidRequest where there is none: its sender's are fetched, and only verify."""
    if not keys:
        raise InvalidRequest(
            "the sender keeps its private keys: name one of your own in the setting keys to sign"
        )
    return keys[0]
