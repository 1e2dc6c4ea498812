"""The kind of pack that most are: a signature in a header, over the body and what stands beside it."""

from __future__ import annotations

import base64
import binascii
from typing import ClassVar

from surehook.errors import ConfigurationError
from surehook.packs.pack import Pack, Setup
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.keys import HmacKey, Key
from surehook.packs.schemes.layout import Layout, SignatureScheme
from surehook.secrets import Secret


class SignedPack(Pack):
    """A pack states its layout and how a signature is written: by default an HMAC whose key is the text of the secret.

    A pack with another kind of key overrides ``key``; one whose secret only writes its key otherwise, ``key_bytes``.
    """

    layout: ClassVar[Layout]
    algorithm: ClassVar[str] = "sha256"
    encoding: ClassVar[str] = "hex"
    #: What stands before the signature.
    prefix: ClassVar[str] = ""
    #: The sender's own library takes hex digits of both cases.
    any_case: ClassVar[bool] = False
    #: Seconds by which a signed time may differ, where the sender says something else than five minutes.
    tolerance: ClassVar[int | None] = None

    def __init_subclass__(cls) -> None:
        """A pack whose layout has a time knows ``tolerance``; one that signs its address, ``url``."""
        layout = getattr(cls, "layout", None)
        if layout is None:
            return
        timed = layout.timestamp_header is not None or layout.timestamp_item is not None
        cls.settings |= {"tolerance"} if timed else frozenset()
        cls.settings |= {"url"} if cls.signs_url else frozenset()

    def scheme(self, setup: Setup) -> Scheme:
        keys = [self.key(secret) for secret in setup.secrets]
        return SignatureScheme(self.layout, keys, setup.tolerance(self.tolerance), setup.address)

    def key(self, secret: Secret) -> Key:
        """One live secret. Raises ConfigurationError for what cannot be one."""
        return HmacKey(
            secret.reference,
            self.key_bytes(secret),
            algorithm=self.algorithm,
            encoding=self.encoding,
            prefix=self.prefix,
            any_case=self.any_case,
        )

    def key_bytes(self, secret: Secret) -> bytes:
        """The key in a secret: its text in UTF-8."""
        return secret.encode()


def base64_key(secret: Secret, prefix: str = "", *, sizes: tuple[int, ...] = ()) -> bytes:
    """The key of a secret that is base64 after a prefix; padding may be missing.

    Raises ConfigurationError for anything else, or another size than one of ``sizes``, in bytes.
    """
    encoded = secret.reveal().removeprefix(prefix).rstrip("=")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key or (sizes and len(key) not in sizes):
        size = f" of {sizes[0]} bytes" if sizes else ""
        form = f"{prefix} and base64" if prefix else "base64"
        raise ConfigurationError(
            f"the secret {secret.reference} is malformed: {form}{size} is needed, copied in full"
        )
    return key


def hex_key(secret: Secret, *, sizes: tuple[int, ...] = ()) -> bytes:
    """The key of a secret that is written in hex digits. Raises ConfigurationError as ``base64_key`` does."""
    try:
        key = bytes.fromhex(secret.reveal())
    except ValueError:
        key = b""
    if not key or (sizes and len(key) not in sizes):
        size = f", {2 * sizes[0]} of them," if sizes else ""
        raise ConfigurationError(
            f"the secret {secret.reference} is malformed: hex digits{size} are needed, copied in full"
        )
    return key
