"""HTTP Basic authentication."""

from __future__ import annotations

from typing import Final

from surehook.config import ProviderSettings
from surehook.packs.configurable import ConfigurablePack
from surehook.packs.pack import Pack, Setup
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.shared import BasicScheme


class Basic(ConfigurablePack):
    """HTTP Basic; each secret is ``user:password``. It proves who sends, not that the body is unchanged: use TLS."""

    name = "basic"
    summary = "any sender that logs in with HTTP Basic authentication"
    docs_url = "https://datatracker.ietf.org/doc/html/rfc7617"
    proof = "`authorization`: user and password. The body is not signed"
    credential = "user:password, as the sender uses them"

    def scheme(self, setup: Setup) -> Scheme:
        return BasicScheme(setup.secrets)

    def proof_headers(self, settings: ProviderSettings) -> frozenset[str]:
        return frozenset({BasicScheme.HEADER})


PACK: Final[Pack] = Basic()
