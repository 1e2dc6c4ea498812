-- The inbox, the outbox and what surrounds them. Tokens in braces are the dialect's (storage/dialect.py).

CREATE TABLE inbox_payloads (
    id            {uuid}   NOT NULL PRIMARY KEY,
    provider      text     NOT NULL,
    topic         text     NOT NULL,
    body          {blob}   NOT NULL,
    headers       text     NOT NULL,
    content_type  text     NOT NULL,
    sha256        {blob}   NOT NULL,
    received_at   bigint   NOT NULL,
    secret        text     NOT NULL
);

CREATE TABLE inbox_events (
    id            {uuid}   NOT NULL PRIMARY KEY,
    provider      text     NOT NULL,
    topic         text     NOT NULL,
    external_id   text     NOT NULL CHECK (length(external_id) > 0),
    weak          smallint NOT NULL DEFAULT 0 CHECK (weak IN (0, 1)),
    type          text     NOT NULL,
    subject       text,
    order_key     text,
    payload_id    {uuid}   NOT NULL,
    item          integer  NOT NULL DEFAULT 0,
    body_sha256   {blob}   NOT NULL,
    suspect_key   {blob},
    occurred_at   bigint,
    received_at   bigint   NOT NULL,
    traceparent   text,
    state         text     NOT NULL,
    reason        text,
    attempts      integer  NOT NULL DEFAULT 0,
    lost_leases   integer  NOT NULL DEFAULT 0,
    duplicates    integer  NOT NULL DEFAULT 0,
    replays       integer  NOT NULL DEFAULT 0,
    due_at        bigint,
    lease_until   bigint,
    lease_token   bigint   NOT NULL DEFAULT 0,
    updated_at    bigint   NOT NULL,
    finished_at   bigint,
    last_error    text,
    CONSTRAINT inbox_events_once UNIQUE (provider, external_id),
    CONSTRAINT inbox_events_state CHECK
        (state IN ('RECEIVED', 'PROCESSING', 'RETRYING', 'PROCESSED', 'IGNORED', 'DEAD', 'DISCARDED')),
    CONSTRAINT inbox_events_leased CHECK ((state = 'PROCESSING') = (lease_until IS NOT NULL)),
    CONSTRAINT inbox_events_due CHECK ((state IN ('RECEIVED', 'RETRYING')) = (due_at IS NOT NULL)),
    CONSTRAINT inbox_events_finished CHECK
        ((state IN ('PROCESSED', 'IGNORED', 'DEAD', 'DISCARDED')) = (finished_at IS NOT NULL))
);

CREATE INDEX inbox_events_due_index ON inbox_events (due_at, id) WHERE state IN ('RECEIVED', 'RETRYING');
CREATE INDEX inbox_events_lease_index ON inbox_events (lease_until) WHERE state = 'PROCESSING';
CREATE INDEX inbox_events_ignored_index ON inbox_events (id) WHERE state = 'IGNORED';
CREATE INDEX inbox_events_dead_index ON inbox_events (id) WHERE state = 'DEAD';
CREATE INDEX inbox_events_suspect_index ON inbox_events (suspect_key, received_at) WHERE suspect_key IS NOT NULL;

CREATE TABLE outbox_messages (
    id            {uuid}   NOT NULL PRIMARY KEY,
    event_id      {uuid}   NOT NULL,
    destination   text     NOT NULL,
    type          text     NOT NULL,
    subject       text,
    order_key     text,
    body          {blob}   NOT NULL,
    traceparent   text,
    state         text     NOT NULL,
    reason        text,
    attempts      integer  NOT NULL DEFAULT 0,
    lost_leases   integer  NOT NULL DEFAULT 0,
    replays       integer  NOT NULL DEFAULT 0,
    due_at        bigint,
    lease_until   bigint,
    lease_token   bigint   NOT NULL DEFAULT 0,
    created_at    bigint   NOT NULL,
    updated_at    bigint   NOT NULL,
    finished_at   bigint,
    last_error    text,
    CONSTRAINT outbox_messages_state CHECK
        (state IN ('PENDING', 'SENDING', 'RETRYING', 'SENT', 'DEAD', 'DISCARDED')),
    CONSTRAINT outbox_messages_leased CHECK ((state = 'SENDING') = (lease_until IS NOT NULL)),
    CONSTRAINT outbox_messages_due CHECK ((state IN ('PENDING', 'RETRYING')) = (due_at IS NOT NULL)),
    CONSTRAINT outbox_messages_finished CHECK
        ((state IN ('SENT', 'DEAD', 'DISCARDED')) = (finished_at IS NOT NULL))
);

CREATE INDEX outbox_messages_due_index ON outbox_messages (destination, due_at, id)
    WHERE state IN ('PENDING', 'RETRYING');
CREATE INDEX outbox_messages_lease_index ON outbox_messages (lease_until) WHERE state = 'SENDING';
CREATE INDEX outbox_messages_event_index ON outbox_messages (event_id);
CREATE INDEX outbox_messages_dead_index ON outbox_messages (id) WHERE state = 'DEAD';

CREATE TABLE failures (
    id            {uuid}   NOT NULL PRIMARY KEY,
    row_id        {uuid}   NOT NULL,
    attempt       integer  NOT NULL,
    error_type    text     NOT NULL,
    message       text     NOT NULL,
    detail        text     NOT NULL,
    fingerprint   text     NOT NULL,
    status        integer,
    worker        text     NOT NULL,
    started_at    bigint   NOT NULL,
    failed_at     bigint   NOT NULL
);

CREATE INDEX failures_row_index ON failures (row_id, failed_at);

CREATE TABLE rejections (
    id            {uuid}   NOT NULL PRIMARY KEY,
    provider      text     NOT NULL,
    topic         text     NOT NULL,
    reason        text     NOT NULL,
    detail        text     NOT NULL,
    headers       text     NOT NULL,
    body_sha256   {blob}   NOT NULL,
    body_size     bigint   NOT NULL,
    remote        text     NOT NULL,
    external_id   text,
    received_at   bigint   NOT NULL
);

CREATE TABLE audit_log (
    seq           bigint   NOT NULL PRIMARY KEY,
    at            bigint   NOT NULL,
    actor         text     NOT NULL,
    action        text     NOT NULL,
    reason        text     NOT NULL,
    subject       text     NOT NULL,
    detail        text     NOT NULL,
    previous_hash {blob}   NOT NULL,
    hash          {blob}   NOT NULL
);

CREATE INDEX audit_log_subject_index ON audit_log (subject, seq);
