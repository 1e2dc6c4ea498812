"""Settings: every option with its type, default and meaning."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from surehook.retry import HANDLER_DELAYS, MESSAGE_DELAYS

MIB = 1024 * 1024

#: Milliseconds, written as "30s".
Duration = Annotated[int, msgspec.Meta(ge=1, extra={"unit": "duration"})]
#: Whole seconds, written as "5m".
Seconds = Annotated[int, msgspec.Meta(ge=1, extra={"unit": "seconds"})]
#: Bytes, written as "1MiB".
Size = Annotated[int, msgspec.Meta(ge=1, extra={"unit": "size"})]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=1)]
#: Where a secret is found, never the secret: ``env:NAME`` or ``file:PATH``.
Reference = Annotated[str, msgspec.Meta(extra={"unit": "reference"})]
#: A URL of PostgreSQL, or the reference to one.
PostgresUrl = Annotated[str, msgspec.Meta(extra={"example": "env:DATABASE_URL"})]
#: ``module:object``.
ImportName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$", extra={"wanted": "module:object", "example": "app:app"}
    ),
]
SuccessStatus = Annotated[int, msgspec.Meta(ge=200, le=299)]


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ingest: the public port. Durations in milliseconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: Port = 8080
    #: How senders reach this server, e.g. ``https://hooks.example.com``: some of them sign the address they post to.
    public_url: str | None = None
    #: The largest body; a pack can allow more (GitHub: 25 MiB), ``max_body`` of a provider overrides both.
    max_body: Size = MIB
    max_headers: Count = 100
    max_header_bytes: Size = 64 * 1024
    max_header_size: Size = 8 * 1024
    #: The whole request, from its first byte to its last, must arrive within this time.
    receive_timeout: Duration = 15_000
    #: How long an idle connection is kept.
    keep_alive: Duration = 5_000
    max_connections: Count = 1_000
    #: Bodies being received at once, together; beyond it 503.
    max_bytes_in_flight: Size = 256 * MIB
    #: How long a request waits for its commit before it is answered 503.
    ack_timeout: Duration = 2_500
    #: Arrivals that may wait for a commit; beyond it 503.
    max_waiting: Count = 10_000
    #: How long a graceful stop waits for requests and handlers.
    drain_timeout: Duration = 25_000
    #: Below this much free space on the database's disk, /readyz fails.
    min_free_disk: Size = 64 * MIB


class ConsoleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The private port: health now; pages, API and metrics in a later version."""

    host: str = "127.0.0.1"
    port: Port = 8081
    #: Reference to the token; required when the host is not loopback.
    token: Reference | None = None


class ProviderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sender. Which of the fields mean something depends on its pack."""

    #: Default: the provider's name. ``module:object`` names a pack of one's own.
    pack: str | None = None
    enabled: bool = True
    #: References: ``env:NAME`` or ``file:PATH``. Any of them verifies, so that secrets can be rotated.
    secrets: tuple[Reference, ...] = ()
    #: References to keys to verify with, instead of fetching those that the sender publishes: PEM, or a JWKS.
    keys: tuple[Reference, ...] = ()
    #: aws-sns: confirm subscriptions to the topics by itself.
    confirm: bool = True
    #: google-pubsub: the service account that pushes.
    email: str | None = None
    #: braintree: the key that stands beside the private one.
    public_key: str | None = None
    #: plaid: who asks for keys, and where: production (default) or sandbox.
    client_id: str | None = None
    environment: str | None = None
    #: hmac, token, okta: the header that carries the signature or token.
    header: str | None = None
    #: hmac: sha256 (default), sha1, sha512.
    algorithm: str | None = None
    #: hmac: hex (default) or base64.
    encoding: str | None = None
    #: hmac: text before the signature in its header, e.g. ``sha256=``.
    prefix: str | None = None
    #: hmac: what is signed, with ``{body}``, ``{timestamp}`` and ``{id}``; default ``{body}``.
    signed: str | None = None
    #: hmac: the header that carries the unix time, if ``signed`` uses it.
    timestamp_header: str | None = None
    #: Seconds by which a signed timestamp may differ, both ways.
    tolerance: Seconds | None = None
    #: The address that the sender posts to, for those that sign it, where ``server.public_url`` does not lead to it.
    #: ``/{topic}`` stands for the topic; what follows ``?`` is taken from each request.
    url: str | None = None
    #: Where the external id stands: ``header:NAME`` or ``body:/json/pointer``.
    id: str | None = None
    type: str | None = None
    subject: str | None = None
    occurred_at: str | None = None
    max_body: Size | None = None
    #: Status and body of the answer to an accepted request, where a provider insists on its own.
    response_status: SuccessStatus | None = None
    response_body: str | None = None
    #: meta: reference to the token that its handshake shows, where it is none of ``secrets``.
    verify_token: Reference | None = None


class HandlerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Defaults for handlers. Durations in milliseconds."""

    retries: tuple[Duration, ...] = HANDLER_DELAYS
    timeout: Duration = 30_000
    lease: Duration = 60_000
    heartbeat: Duration = 20_000
    #: Async handlers at once, and threads for ``def`` handlers.
    concurrency: Count = 50
    threads: Count = 10
    #: How long a handler may hold its transaction on SQLite, where everyone else waits for it.
    transaction_budget: Duration = 2_000
    #: An event that lost this many leases is DEAD with reason POISON.
    poison_after: Count = 3
    #: How long after IGNORED an event is taken back when a handler for it appears.
    take_back: Duration = 3_600_000
    #: Poll of the database when nothing wakes the worker.
    poll: Duration = 1_000
    sweep: Duration = 10_000


class DestinationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One receiver of messages. Durations in milliseconds."""

    url: str
    #: References; the first signs alone, all of them do while they are rotated.
    secrets: tuple[Reference, ...] = ()
    retries: tuple[Duration, ...] = MESSAGE_DELAYS
    concurrency: Count = 10
    connect_timeout: Duration = 5_000
    timeout: Duration = 15_000
    #: It may resolve to a private or loopback address; plain http only then.
    allow_private: bool = False
    #: Extra headers for every delivery.
    headers: dict[str, str] = {}


class ForwardRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Publishes matching events without any code."""

    to: tuple[str, ...]
    provider: str | None = None
    topic: str | None = None
    #: Exact type or a wildcard such as ``invoice.*``.
    type: str | None = None


class RejectionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Refused requests that are kept so that "did it arrive?" has an answer."""

    #: Rows kept, and rows written a second at most; beyond it they are only counted.
    keep: Count = 10_000
    per_second: Count = 10
    #: Whether they are kept as they came, up to 64 KB each and 100 MB in all, so that they can be let in later.
    keep_bodies: bool = False


class PostgresSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a process uses PostgreSQL; without a meaning on SQLite. Durations in milliseconds."""

    #: Connections of a process for the transactions of handlers; Surehook's own statements take 7 more.
    connections: Count = 20
    #: How long one of Surehook's own statements may take; what takes longer is given up.
    timeout: Duration = 5_000
    connect_timeout: Duration = 3_000
    #: Whether short transactions of handlers may share a commit.
    shared_turns: bool = True
    #: For LISTEN, where a transaction pooler stands between Surehook and the database: leads past it.
    listen_url: PostgresUrl | None = None


class RedisSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a process uses Redis as its queue. Durations in milliseconds."""

    #: The beginning of every key.
    prefix: str = "surehook"
    #: How long a command, or a connection, may take.
    timeout: Duration = 2_000


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it."""

    #: ``module:object`` of the application with the handlers.
    app: ImportName | None = None
    #: ``sqlite:///PATH``, a URL of PostgreSQL, or the reference to one of them.
    database: str = "sqlite:///surehook.db"
    #: ``database``, a URL of Redis, or the reference to one.
    queue: str = "database"
    postgres: PostgresSettings = PostgresSettings()
    redis: RedisSettings = RedisSettings()
    server: ServerSettings = ServerSettings()
    console: ConsoleSettings = ConsoleSettings()
    handlers: HandlerSettings = HandlerSettings()
    rejections: RejectionSettings = RejectionSettings()
    providers: dict[str, ProviderSettings] = {}
    destinations: dict[str, DestinationSettings] = {}
    forward: tuple[ForwardRule, ...] = ()
    #: text, json, or auto: text on a terminal.
    log_format: Literal["auto", "text", "json"] = "auto"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
