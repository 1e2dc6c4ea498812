"""Keys in two halves: what is taken for one, what each half can do, and that a signature has one spelling."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from surehook.errors import ConfigurationError, InvalidRequest
from surehook.packs.schemes.keys import Key
from surehook.packs.schemes.public_keys import EcdsaKey, ecdsa_key, ed25519_key, rsa_key
from surehook.secrets import Secret

EC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
ED = Ed25519PrivateKey.generate()
Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | Ed25519PrivateKey
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
PARTS = [b"1790000000", b'{"a":1}']
MAKE: dict[str, Callable[[Secret], Key]] = {"ec": ecdsa_key, "rsa": rsa_key, "ed": ed25519_key}
KEYS: dict[str, Private] = {"ec": EC, "rsa": RSA, "ed": ED}


def pem(key: Private, form: str = "PKCS8") -> str:
    plain = serialization.NoEncryption()
    return key.private_bytes(PEM, getattr(serialization.PrivateFormat, form), plain).decode()


def public_pem(key: Private) -> str:
    return key.public_key().public_bytes(PEM, SPKI).decode()


def public_base64(key: Private) -> str:
    return base64.b64encode(key.public_key().public_bytes(DER, SPKI)).decode()


def secret(text: str) -> Secret:
    return Secret(text, "env:KEY")


@pytest.mark.parametrize("kind", sorted(MAKE))
def test_the_private_half_signs_and_every_form_of_the_public_half_verifies(kind: str) -> None:
    key = KEYS[kind]
    signature = MAKE[kind](secret(pem(key))).sign(PARTS)
    for form in (pem(key), public_pem(key), public_pem(key).rstrip(), public_base64(key)):
        one = MAKE[kind](secret(form))
        assert one.reference == "env:KEY"
        assert one.matches(PARTS, [b"AAAA", signature])
        assert not one.matches([*PARTS, b" "], [signature])
        assert not one.matches(PARTS, [signature[:-4]])
    for form in (public_pem(key), public_base64(key)):
        with pytest.raises(InvalidRequest, match="private key"):
            MAKE[kind](secret(form)).sign(PARTS)


def test_older_forms_of_pem_are_keys_too() -> None:
    for key, kind in ((EC, "ec"), (RSA, "rsa")):
        signature = MAKE[kind](secret(pem(key, "TraditionalOpenSSL"))).sign(PARTS)
        assert MAKE[kind](secret(public_pem(key))).matches(PARTS, [signature])


def test_an_ed25519_key_may_be_hex() -> None:
    public, seed = ED.public_key().public_bytes_raw().hex(), ED.private_bytes_raw().hex()
    one = ed25519_key(secret(seed + public), encoding="hex")
    signature = one.sign(PARTS)
    for text in (public, public.upper()):
        assert ed25519_key(secret(text), encoding="hex").matches(PARTS, [signature, signature.upper()])
    with pytest.raises(ConfigurationError, match="env:KEY"):
        ed25519_key(secret(seed + "00" * 32))


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_rsa_signs_with_the_hash_that_is_asked_for_and_no_other(algorithm: str) -> None:
    chosen = hashes.SHA1() if algorithm == "sha1" else hashes.SHA256()
    signature = base64.b64encode(RSA.sign(b"".join(PARTS), padding.PKCS1v15(), chosen))
    for other in ("sha1", "sha256"):
        one = rsa_key(secret(public_pem(RSA)), algorithm=other)
        assert one.matches(PARTS, [signature]) is (other == algorithm)
    assert rsa_key(secret(pem(RSA)), algorithm=algorithm).sign(PARTS) == signature


def test_a_signature_has_one_spelling() -> None:
    one = rsa_key(secret(pem(RSA)))
    good = one.sign(PARTS).decode()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    assert good.endswith("==")
    altered = good[:-3] + alphabet[alphabet.index(good[-3]) ^ 1] + "=="
    assert base64.b64decode(altered) == base64.b64decode(good)
    for other in (altered, good.rstrip("="), good + "=", good + "\n", " " + good, good[:9] + "!" + good[9:]):
        assert not one.matches(PARTS, [other.encode()])
    assert not one.matches(PARTS, ["é".encode("latin-1")])


def test_an_ecdsa_signature_is_der_and_nothing_looser() -> None:
    one = ecdsa_key(secret(pem(EC)))
    der = base64.b64decode(one.sign(PARTS))
    longer = der[:1] + b"\x81" + der[1:]  # the same length, written in two bytes
    assert one.verifies(b"".join(PARTS), der)
    for other in (longer, der + b"\0", b"", b"\x30\x00", bytes(72)):
        assert not one.verifies(b"".join(PARTS), other)


def test_an_ecdsa_signature_of_fixed_size_is_the_same_two_numbers() -> None:
    fixed = EcdsaKey("env:KEY", EC.public_key(), EC, fixed=True)
    made = fixed.make(b"x")
    assert len(made) == 64
    assert fixed.verifies(b"x", made)
    assert not fixed.verifies(b"y", made)
    for other in (made[:-1], made + b"\0", bytes(64), b""):
        assert not fixed.verifies(b"x", other)
    der = EcdsaKey("env:KEY", EC.public_key(), EC).make(b"x")
    numbers = b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(der))
    assert fixed.verifies(b"x", numbers)
    assert not fixed.verifies(b"x", der)


SMALL = public_pem(rsa.generate_private_key(65537, 1024))
OTHER_CURVE = public_pem(ec.generate_private_key(ec.SECP384R1()))
LOCKED = EC.private_bytes(
    PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
).decode()
MALFORMED = [
    ("ec", "no key"), ("ec", ""), ("ec", "QUJD"), ("ec", public_pem(RSA)), ("ec", public_pem(ED)), ("ec", OTHER_CURVE),
    ("ec", LOCKED), ("ec", public_pem(EC)[:90]), ("ec", "é" * 40), ("ec", pem(RSA)),
    ("rsa", "no key"), ("rsa", public_pem(EC)), ("rsa", SMALL), ("rsa", public_pem(RSA).replace("A", "B")),
    ("ed", "00" * 31), ("ed", "00" * 33), ("ed", "0" * 63), ("ed", public_pem(EC)), ("ed", "zz" * 32), ("ed", "é"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_key_is_named_and_not_shown(kind: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match="env:KEY") as caught:
        MAKE[kind](secret(text))
    assert caught.value.__cause__ is None
    assert not text or text[:20] not in str(caught.value)
