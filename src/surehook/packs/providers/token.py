"""A shared token in a header of the sender's choice."""

from __future__ import annotations

from typing import Final

from surehook.config import ProviderSettings
from surehook.packs.configurable import ConfigurablePack, required_header
from surehook.packs.pack import SECRET_HEADERS, Pack, Setup
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.shared import TokenScheme


class Token(ConfigurablePack):
    """The same token with every request. It proves who sends, not that the body is unchanged: use TLS."""

    name = "token"
    summary = "any sender that puts a shared token into a header"
    docs_url = "https://datatracker.ietf.org/doc/html/rfc6750"
    proof = "the header that `header` names equals a secret"
    credential = "the token"
    settings = ConfigurablePack.settings | {"header", "prefix"}
    example = ProviderSettings(header="X-Webhook-Token", id="body:/id", type="body:/type")

    def scheme(self, setup: Setup) -> Scheme:
        return TokenScheme(required_header(setup.settings), setup.secrets, setup.settings.prefix or "")

    def dropped_headers(self, settings: ProviderSettings) -> frozenset[str]:
        return SECRET_HEADERS | {required_header(settings)}

    def proof_headers(self, settings: ProviderSettings) -> frozenset[str]:
        return SECRET_HEADERS & {required_header(settings)}


PACK: Final[Pack] = Token()
