"""What a pack is: what is known of one kind of sender. Users write their own as those in ``providers`` are written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from surehook.clock import Millis
from surehook.config import ProviderSettings
from surehook.packs.address import Address
from surehook.packs.keystore import KeyStore
from surehook.packs.places import Reads
from surehook.packs.reader import JsonReader
from surehook.packs.request import Delivery, Draft, Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.layout import TOLERANCE
from surehook.packs.vacancy import Vacancy
from surehook.packs.verdicts import Challenge, Reader
from surehook.secrets import Secret

#: Headers that hold secrets of others: never stored.
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})

#: How sure it is that a pack verifies what its sender signs, the surest first: vectors that the sender's own library has
#: judged; a delivery or an example that the sender has published; the formula in its documentation; that formula, quoted by
#: others.
Certainty = Literal["official library", "official example", "official formula", "quoted formula"]


class Setup(msgspec.Struct, frozen=True):
    """What a pack makes a provider's scheme from."""

    settings: ProviderSettings
    secrets: Sequence[Secret]
    #: Where the sender posts to, if that is known.
    address: Address | None = None
    #: What ``settings.keys`` name: keys to verify with, instead of fetching any.
    pinned: Sequence[Secret] = ()
    #: The keys that the sender publishes.
    store: KeyStore = msgspec.field(default_factory=KeyStore)
    #: What a handshake must show where that is none of the secrets.
    verify_token: Secret | None = None
    #: The place of a secret that the sender is still to hand over.
    vacancy: Vacancy | None = None

    def tolerance(self, default: int | None = None) -> int:
        """Seconds by which a signed time may differ."""
        return self.settings.tolerance or default or TOLERANCE


class Pack(ABC):
    """What is known of one kind of sender: how it signs, where its ids stand, what its events look like.

    Its documentation string says what a user must know of it: what is not signed, what repeats, what is easily got wrong.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    docs_url: ClassVar[str]
    certainty: ClassVar[Certainty] = "official formula"
    #: How a request proves where it comes from and what handshakes are answered, in words, where what is declared does not
    #: say it already.
    proof: ClassVar[str] = ""
    handshake: ClassVar[str] = ""
    #: The settings that it knows besides the common ones.
    settings: ClassVar[frozenset[str]] = frozenset()
    #: What the secret is, and where in the sender's pages it stands.
    credential: ClassVar[str] = "the secret that you share with the sender"
    #: False where the signature does not cover the external id.
    id_is_signed: ClassVar[bool] = True
    #: True where equal bodies tell of different events, and nothing else tells them apart: then each delivery is one.
    bodies_repeat: ClassVar[bool] = False
    needs_secrets: ClassVar[bool] = True
    #: Whether the sender hands its secret over in a handshake.
    learns_secret: ClassVar[bool] = False
    #: Whether the signature covers the address.
    signs_url: ClassVar[bool] = False
    #: What it sends with besides POST: a handshake, or events.
    methods: ClassVar[frozenset[str]] = frozenset({"POST"})
    #: The largest body in bytes that this sender is known to send, where it is more than the default.
    max_body: ClassVar[int | None] = None
    #: The answer to an accepted request where the sender wants its own: status, body, content type.
    response: ClassVar[tuple[int, bytes, str] | None] = None
    #: Whether it wants nothing but the status of a refusal.
    refuses_bare: ClassVar[bool] = False
    #: Settings that work, to show and to try out: secrets aside.
    example: ClassVar[ProviderSettings] = ProviderSettings()
    sample_type: ClassVar[str]
    #: Where things stand; a pack whose requests are not plain JSON has a reader of its own instead.
    reads: ClassVar[Reads] = Reads()
    #: Where the list stands in a body that holds several events (``""``: the body itself is it), and where things stand in
    #: each of them. What an event does not say itself is taken from around it.
    items: ClassVar[str | None] = None
    item: ClassVar[Reads] = Reads()
    #: The JSON that ``sample`` puts an id and a type into.
    sample_body: ClassVar[Mapping[str, Any] | Sequence[Any]] = {}

    @abstractmethod
    def scheme(self, setup: Setup) -> Scheme:
        """Its signature scheme. Raises ConfigurationError for settings or secrets that cannot work."""

    def reader(self, settings: ProviderSettings) -> Reader:
        """Its reader. Raises ConfigurationError for settings that cannot work."""
        return JsonReader(self.reads, self.items, self.item)

    def greet(self, request: Request, setup: Setup) -> Challenge | None:
        """The answer to a handshake that is not signed, None where the request is none."""
        return None

    def covers_id(self, settings: ProviderSettings) -> bool:
        """Whether, with these settings, nobody can change the external id without breaking the signature."""
        return self.id_is_signed

    def dropped_headers(self, settings: ProviderSettings) -> frozenset[str]:
        """The headers, in lower case, that are never stored since they hold secrets."""
        return SECRET_HEADERS

    def proof_headers(self, settings: ProviderSettings) -> frozenset[str]:
        """Those of ``SECRET_HEADERS`` that its own scheme looks at: without them nobody could judge a request again."""
        return frozenset()

    def headers(self, settings: ProviderSettings, external_id: str, type: str) -> dict[str, str]:
        """The headers besides the signature's that such a sender adds."""
        return self.reads.write_headers(external_id, type)

    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        """A small realistic body of this type, with this id where ids stand in the body; of several events in the first."""
        chosen = type or self.sample_type
        body = self.reads.write_body(self.sample_body, external_id, chosen)
        if self.items is not None:
            body = self.item.write_body(body, external_id, chosen, below=f"{self.items}/0")
        return msgspec.json.encode(body)

    def sign(
        self,
        secret: Secret | str,
        body: bytes,
        now: Millis,
        *,
        external_id: str,
        type: str,
        settings: ProviderSettings | None = None,
    ) -> Delivery:
        """What the sender would deliver with this body now. ``settings``: ``example`` when not given.

        Raises ConfigurationError for a malformed secret, InvalidRequest for one that can only verify.
        """
        chosen = self.example if settings is None else settings
        secrets = [secret if isinstance(secret, Secret) else Secret(secret)]
        address = Address(chosen.url) if chosen.url else None
        draft = Draft(body, now, external_id, type)
        return self.deliver(self.scheme(Setup(chosen, secrets, address)), chosen, draft)

    def deliver(self, scheme: Scheme, settings: ProviderSettings, draft: Draft) -> Delivery:
        """The signed draft, with the other headers that such a sender sends."""
        signed = scheme.sign(draft)
        sent = self.headers(settings, draft.external_id, draft.type)
        headers = {"content-type": "application/json", **sent, **signed.headers}
        return msgspec.structs.replace(signed, headers=headers)
