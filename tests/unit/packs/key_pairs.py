"""Key pairs for tests, in the forms in which secrets hold them."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | Ed25519PrivateKey


def pem(key: Private) -> str:
    """A private key."""
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def p256(number: int) -> ec.EllipticCurvePrivateKey:
    """One of many private keys on P-256."""
    return ec.derive_private_key(10**40 + number, ec.SECP256R1())


def p256_pem(number: int) -> str:
    """The same as text."""
    return pem(p256(number))


def ed25519_hex(number: int) -> str:
    """One of 256 key pairs: seed and public key."""
    private = Ed25519PrivateKey.from_private_bytes(bytes([number] * 32))
    return private.private_bytes_raw().hex() + private.public_key().public_bytes_raw().hex()


RSA_KEY: Final = rsa.generate_private_key(65537, 2048)
RSA_PEM: Final = pem(RSA_KEY)
OTHER_RSA_PEM: Final = pem(rsa.generate_private_key(65537, 2048))
