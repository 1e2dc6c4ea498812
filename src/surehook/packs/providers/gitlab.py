"""GitLab: a signing token (Standard Webhooks), or the older secret token, which comes back as it is."""

from __future__ import annotations

from typing import ClassVar, Final

from surehook.config import ProviderSettings
from surehook.packs.pack import SECRET_HEADERS, Certainty, Pack, Setup
from surehook.packs.places import Reads
from surehook.packs.providers.standard_webhooks import StandardWebhooks
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.choice import ByHeader
from surehook.packs.schemes.keys import HmacKey, Key
from surehook.packs.schemes.layout import SignatureScheme
from surehook.packs.schemes.shared import TokenScheme
from surehook.packs.signed import base64_key
from surehook.secrets import Secret

TOKEN: Final = "x-gitlab-token"  # noqa: S105 - a header's name


class GitLab(StandardWebhooks):
    """A secret that begins with ``whsec_`` is a signing token, any other the secret token.

    The secret token proves who sends, not that the body is unchanged: prefer the signing token. While a signing token is
    live, a signature decides where one is sent; a live secret token still admits requests without one, so remove it once
    GitLab signs. The external id is that of ``Idempotency-Key``, which stays over retries.
    """

    name = "gitlab"
    summary = "GitLab webhooks of projects, groups and the instance"
    docs_url = "https://docs.gitlab.com/user/project/integrations/webhooks/"
    certainty: ClassVar[Certainty] = "official formula"
    credential = "the webhook's signing token (whsec_...) or secret token: Settings, Webhooks, the webhook"
    reads = Reads(
        id=("header:webhook-id", "header:idempotency-key", "header:x-gitlab-event-uuid"),
        type=("header:x-gitlab-event", "body:/object_kind"),
        subject="body:/project/path_with_namespace",
        occurred_at=("body:/object_attributes/updated_at", "body:/created_at"),
    )
    sample_type = "Push Hook"
    sample_body = {
        "object_kind": "push",
        "event_name": "push",
        "before": "95790bf891e76fee5e1747ab589903a6a1f80f22",
        "after": "da1560886d4f094c3e6c9ef40349f7d38b5d27d7",
        "ref": "refs/heads/main",
        "user_id": 4,
        "user_name": "Ada Lovelace",
        "project_id": 15,
        "project": {"id": 15, "name": "engine", "path_with_namespace": "analytical/engine"},
        "commits": [],
        "total_commits_count": 0,
    }

    def scheme(self, setup: Setup) -> Scheme:
        signing = [secret for secret in setup.secrets if secret.reveal().startswith("whsec_")]
        tokens = [secret for secret in setup.secrets if not secret.reveal().startswith("whsec_")]
        schemes: list[tuple[str, Scheme]] = []
        if signing:
            keys = [self.key(secret) for secret in signing]
            schemes.append((self.layout.header, SignatureScheme(self.layout, keys, setup.tolerance())))
        if tokens:
            schemes.append((TOKEN, TokenScheme(TOKEN, tokens)))
        return ByHeader(schemes)

    def key(self, secret: Secret) -> Key:
        key = base64_key(secret, "whsec_", sizes=(32,))
        return HmacKey(secret.reference, key, encoding="base64", prefix="v1,")

    def dropped_headers(self, settings: ProviderSettings) -> frozenset[str]:
        return SECRET_HEADERS | {TOKEN}


PACK: Final[Pack] = GitLab()
