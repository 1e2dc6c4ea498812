-- What many processes and long histories need.
-- needs: 1

-- The oldest schema whose code still works with a migration: a rolling deployment migrates before it replaces processes.
ALTER TABLE schema_migrations ADD COLUMN needs integer NOT NULL DEFAULT 1;

-- States that people look for, in order of id. The states of the hot path stay without such an index: it would cost each event.
DROP INDEX inbox_events_ignored_index;
CREATE INDEX inbox_events_ignored_index ON inbox_events (finished_at, id) WHERE state = 'IGNORED';
CREATE INDEX inbox_events_retrying_index ON inbox_events (id) WHERE state = 'RETRYING';
CREATE INDEX inbox_events_discarded_index ON inbox_events (id) WHERE state = 'DISCARDED';
CREATE INDEX outbox_messages_retrying_index ON outbox_messages (id) WHERE state = 'RETRYING';
CREATE INDEX outbox_messages_discarded_index ON outbox_messages (id) WHERE state = 'DISCARDED';
