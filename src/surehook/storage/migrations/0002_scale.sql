-- What many processes and long histories need.
-- needs: 1

-- The oldest schema whose code still works with a migration: a rolling deployment migrates before it replaces processes.
ALTER TABLE schema_migrations ADD COLUMN needs integer NOT NULL DEFAULT 1;

-- An index whose condition names a state would be taken for a row that is looked for by id and state, and searched from end to
-- end. These conditions say the same by other columns, which only those who mean the index ask for.
DROP INDEX inbox_events_due_index;
CREATE INDEX inbox_events_due_index ON inbox_events (due_at, id) WHERE due_at IS NOT NULL;
DROP INDEX inbox_events_lease_index;
CREATE INDEX inbox_events_lease_index ON inbox_events (lease_until) WHERE lease_until IS NOT NULL;
DROP INDEX outbox_messages_lease_index;
CREATE INDEX outbox_messages_lease_index ON outbox_messages (lease_until) WHERE lease_until IS NOT NULL;

-- States that people look for, in order of id. The states of the hot path stay without such an index: it would cost each event.
DROP INDEX inbox_events_ignored_index;
CREATE INDEX inbox_events_ignored_index ON inbox_events (finished_at, id) WHERE state = 'IGNORED';
CREATE INDEX inbox_events_retrying_index ON inbox_events (id) WHERE state = 'RETRYING';
CREATE INDEX inbox_events_discarded_index ON inbox_events (id) WHERE state = 'DISCARDED';
CREATE INDEX outbox_messages_retrying_index ON outbox_messages (id) WHERE state = 'RETRYING';
CREATE INDEX outbox_messages_discarded_index ON outbox_messages (id) WHERE state = 'DISCARDED';
