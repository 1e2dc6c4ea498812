"""HMAC in a header of the sender's choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from surehook.config import ProviderSettings
from surehook.errors import ConfigurationError, did_you_mean
from surehook.packs.configurable import ConfigurablePack, places, required_header
from surehook.packs.pack import Pack, Setup
from surehook.packs.places import header_name, parse_place
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.keys import ALGORITHMS, ENCODINGS, HmacKey
from surehook.packs.schemes.layout import Layout, SignatureScheme
from surehook.secrets import Secret


class Hmac(ConfigurablePack):
    """HMAC over the body, also with a time, an id or the address, in a header of the sender's choice."""

    name = "hmac"
    summary = "any sender that puts an HMAC into a header"
    docs_url = "https://datatracker.ietf.org/doc/html/rfc2104"
    proof = "HMAC in the header that `header` names, over what `signed` says"
    settings = ConfigurablePack.settings | {
        "header",
        "algorithm",
        "encoding",
        "prefix",
        "signed",
        "timestamp_header",
        "tolerance",
        "url",
    }
    example = ProviderSettings(header="X-Signature", id="body:/id", type="body:/type")

    def scheme(self, setup: Setup) -> Scheme:
        make = _hmac_key(setup.settings)
        if setup.settings.tolerance and setup.settings.timestamp_header is None:
            raise ConfigurationError(
                "tolerance needs timestamp_header: without a signed time nothing can be stale"
            )
        keys = [make(secret) for secret in setup.secrets]
        return SignatureScheme(_layout(setup.settings), keys, setup.tolerance(), setup.address)

    def covers_id(self, settings: ProviderSettings) -> bool:
        return places(settings)["id"].header is None or _layout(settings).id_header is not None


def _layout(settings: ProviderSettings) -> Layout:
    signed = settings.signed or "{body}"
    stamp = settings.timestamp_header
    place = None if settings.id is None else parse_place("id", settings.id)
    return Layout(
        header=required_header(settings),
        signed=signed,
        separator=",",
        timestamp_header=None if stamp is None else header_name("timestamp_header", stamp),
        id_header=place.header if place is not None and "{id}" in signed else None,
    )


def _hmac_key(settings: ProviderSettings) -> Callable[[Secret], HmacKey]:
    algorithm = _choice("algorithm", settings.algorithm, ALGORITHMS)
    encoding = _choice("encoding", settings.encoding, ENCODINGS)
    prefix = settings.prefix or ""
    if "," in prefix or prefix != prefix.strip():
        raise ConfigurationError(
            f"prefix = {prefix!r}: a comma or a space at its ends cannot be told from a separator"
        )

    def make(secret: Secret) -> HmacKey:
        return HmacKey(
            secret.reference, secret.encode(), algorithm=algorithm, encoding=encoding, prefix=prefix
        )

    return make


def _choice(setting: str, value: str | None, known: Sequence[str]) -> str:
    chosen = value or known[0]
    if chosen not in known:
        raise ConfigurationError(f"{setting} = {chosen!r} is not known. {did_you_mean(chosen, known)}")
    return chosen


PACK: Final[Pack] = Hmac()
