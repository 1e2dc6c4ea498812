
-- Payloads by day, so that retention drops a table instead of deleting rows. Ids begin with their time, so the day is a
-- range of ids, and a payload is found by its id in one partition.
ALTER TABLE inbox_payloads RENAME TO inbox_payloads_before;
ALTER INDEX inbox_payloads_pkey RENAME TO inbox_payloads_before_pkey;

CREATE TABLE inbox_payloads (
    id            uuid     NOT NULL PRIMARY KEY,
    provider      text     NOT NULL,
    topic         text     NOT NULL,
    body          bytea    NOT NULL,
    headers       text     NOT NULL,
    content_type  text     NOT NULL,
    sha256        bytea    NOT NULL,
    received_at   bigint   NOT NULL,
    secret        text     NOT NULL
) PARTITION BY RANGE (id);

-- What no day has a partition for (a clock that is far off) is kept here.
CREATE TABLE inbox_payloads_default PARTITION OF inbox_payloads DEFAULT;
INSERT INTO inbox_payloads SELECT * FROM inbox_payloads_before;
DROP TABLE inbox_payloads_before;

-- A long history must not keep vacuum waiting. Room on the pages (fillfactor) would be of no use: every move of a row changes
-- an index, so none can be made in place.
ALTER TABLE inbox_events SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE outbox_messages SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
