"""Signatures of Standard Webhooks, symmetric (v1): https://www.standardwebhooks.com, specification 1.0."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Final

from surehook.clock import Millis
from surehook.errors import ConfigurationError
from surehook.mac import Hmac
from surehook.secrets import Secret

_PREFIX: Final = "whsec_"
_FEWEST_BYTES: Final = 24  # the specification's lower bound


class Signer:
    """Signs deliveries with every live secret, so that a receiver can go over from the old one to the new."""

    def __init__(self, destination: str, secrets: Sequence[Secret]) -> None:
        """Raises ConfigurationError when a secret is not what Standard Webhooks defines."""
        self._keys = [Hmac(_secret_bytes(destination, secret)) for secret in secrets]

    def headers(self, id: str, now: Millis, body: bytes) -> dict[str, str]:
        """The headers of one try. Without secrets there is no signature among them."""
        timestamp = str(now // 1000)
        headers = {"webhook-id": id, "webhook-timestamp": timestamp}
        if self._keys:
            parts = (f"{id}.{timestamp}.".encode(), body)
            headers["webhook-signature"] = " ".join([_encoded(key.digest(parts)) for key in self._keys])
        return headers


def _encoded(digest: bytes) -> str:
    return "v1," + binascii.b2a_base64(digest, newline=False).decode()


def _secret_bytes(destination: str, secret: Secret) -> bytes:
    encoded = secret.reveal().strip()
    try:
        key = base64.b64decode(encoded.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not encoded.startswith(_PREFIX) or len(key) < _FEWEST_BYTES:
        raise ConfigurationError(
            f"destinations.{destination}.secrets: {secret.reference or 'a secret'} is none of Standard Webhooks: it must be "
            f"{_PREFIX} and the base64 of at least {_FEWEST_BYTES} random bytes, e.g. from: "
            f'echo "{_PREFIX}$(openssl rand -base64 32)"'
        )
    return key
