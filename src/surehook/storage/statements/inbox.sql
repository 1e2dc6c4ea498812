-- name: insert_event
-- moves: (new) -> RECEIVED | DEAD
-- Store an event unless its (provider, external id) is known; the row count tells which.
INSERT INTO inbox_events
    (id, provider, topic, external_id, weak, type, subject, payload_id, item, part, body_sha256, suspect_key, occurred_at,
     received_at, traceparent, state, reason, due_at, updated_at, finished_at, last_error)
VALUES
    (:id, :provider, :topic, :external_id, :weak, :type, :subject, :payload_id, :item, :part, :body_sha256, :suspect_key,
     :occurred_at, :received_at, :traceparent, :state, :reason, :due_at, :received_at, :finished_at, :last_error)
ON CONFLICT (provider, external_id) DO NOTHING

-- name: insert_payload
-- Keep a request as it came.
INSERT INTO inbox_payloads (id, provider, topic, body, headers, content_type, sha256, received_at, secret)
VALUES (:id, :provider, :topic, :body, :headers, :content_type, :sha256, :received_at, :secret)

-- name: find_known
-- The event that a duplicate is one of.
SELECT id, state, body_sha256 FROM inbox_events WHERE provider = :provider AND external_id = :external_id

-- name: count_duplicate
-- A delivery of what is stored already.
UPDATE inbox_events SET duplicates = duplicates + 1 WHERE id = :id

-- name: find_suspect
-- Did the same body come lately under another id of the same provider?
SELECT external_id FROM inbox_events
WHERE suspect_key = :suspect_key AND received_at > :since AND provider = :provider AND external_id <> :external_id
LIMIT 1

-- name: claim_events
-- moves: RECEIVED | RETRYING -> PROCESSING
-- Take what is due, longest due first; the attempt is counted before it runs.
WITH due AS MATERIALIZED (
    SELECT id, due_at, payload_id FROM inbox_events
    WHERE state IN ('RECEIVED', 'RETRYING') AND due_at <= :now AND due_at >= :since
    ORDER BY due_at, id LIMIT :limit {skip_locked}
)
UPDATE inbox_events
SET state = 'PROCESSING', attempts = attempts + 1, lease_token = lease_token + 1, lease_until = :lease_until,
    due_at = NULL, updated_at = :now
FROM due {join_payload} WHERE inbox_events.id = due.id
RETURNING inbox_events.id, lease_token, attempts, lost_leases, inbox_events.provider, inbox_events.topic, external_id, type,
    subject, item, part, occurred_at, inbox_events.received_at, traceparent, inbox_events.payload_id, {payload}, {was_due}

-- name: claim_named_events
-- moves: RECEIVED | RETRYING -> PROCESSING
-- Take those that a queue named and that are still due: found by id, which a plain due_at would keep planners from. What
-- somebody has locked is found by the next search for all that is due.
WITH due AS MATERIALIZED (
    SELECT id, payload_id FROM inbox_events
    WHERE id {among_ids} AND state IN ('RECEIVED', 'RETRYING') AND coalesce(due_at, 0) <= :now
    ORDER BY id {skip_locked}
)
UPDATE inbox_events
SET state = 'PROCESSING', attempts = attempts + 1, lease_token = lease_token + 1, lease_until = :lease_until,
    due_at = NULL, updated_at = :now
FROM due {join_payload} WHERE inbox_events.id = due.id
RETURNING inbox_events.id, lease_token, attempts, lost_leases, inbox_events.provider, inbox_events.topic, external_id, type,
    subject, item, part, occurred_at, inbox_events.received_at, traceparent, inbox_events.payload_id, {payload}

-- name: extend_event
-- Prolong the lease of a running attempt. A row that somebody has locked is left out: the other leases cannot wait for it.
UPDATE inbox_events SET lease_until = :lease_until
WHERE id = (SELECT id FROM inbox_events WHERE id = :id AND state = 'PROCESSING' AND lease_token = :token {skip_locked})

-- name: held_event
-- Whether an attempt still has its lease.
SELECT id FROM inbox_events WHERE id = :id AND state = 'PROCESSING' AND lease_token = :token

-- name: process_event
-- moves: PROCESSING -> PROCESSED
-- Finish an event; no row means that the lease was lost.
UPDATE inbox_events
SET state = 'PROCESSED', lease_until = NULL, finished_at = :at, updated_at = :at, reason = NULL, last_error = NULL
WHERE id = :id AND state = 'PROCESSING' AND lease_token = :token

-- name: process_events
-- moves: PROCESSING -> PROCESSED
-- Finish many events, in the order given; of one that is not in the answer the lease was lost.
UPDATE inbox_events
SET state = 'PROCESSED', lease_until = NULL, finished_at = :at, updated_at = :at, reason = NULL, last_error = NULL
FROM {settled}
WHERE inbox_events.id = settled.id AND state = 'PROCESSING' AND lease_token = settled.token
RETURNING inbox_events.id, lease_token

-- name: retry_event
-- moves: PROCESSING -> RETRYING
-- The attempt failed and another one follows.
UPDATE inbox_events
SET state = 'RETRYING', lease_until = NULL, due_at = :due_at, updated_at = :at, last_error = :last_error,
    attempts = attempts - :uncount
WHERE id = :id AND state = 'PROCESSING' AND lease_token = :token

-- name: bury_event
-- moves: PROCESSING -> DEAD
-- The attempt failed and no other one follows until a person decides.
UPDATE inbox_events
SET state = 'DEAD', lease_until = NULL, finished_at = :at, updated_at = :at, reason = :reason, last_error = :last_error
WHERE id = :id AND state = 'PROCESSING' AND lease_token = :token

-- name: ignore_event
-- moves: PROCESSING -> IGNORED
-- Nothing here handles it.
UPDATE inbox_events
SET state = 'IGNORED', lease_until = NULL, finished_at = :at, updated_at = :at, attempts = attempts - 1
WHERE id = :id AND state = 'PROCESSING' AND lease_token = :token

-- name: release_event
-- moves: PROCESSING -> RECEIVED
-- Give a claim back: it is due at once, and with ``uncount`` its attempt was none.
UPDATE inbox_events
SET state = 'RECEIVED', lease_until = NULL, due_at = :at, updated_at = :at, attempts = attempts - :uncount
WHERE id = :id AND state = 'PROCESSING' AND lease_token = :token

-- name: rescue_events
-- moves: PROCESSING -> RETRYING | DEAD
-- Take back what a vanished worker held; who loses too many leases may be what kills the workers.
WITH expired AS MATERIALIZED (
    SELECT id FROM inbox_events WHERE state = 'PROCESSING' AND lease_until < :now
    ORDER BY lease_until LIMIT :limit {skip_locked}
)
UPDATE inbox_events
SET lost_leases = lost_leases + 1, lease_until = NULL, updated_at = :now,
    last_error = 'the worker vanished during the attempt (lease expired)',
    state = CASE WHEN lost_leases + 1 >= :poison_after THEN 'DEAD' ELSE 'RETRYING' END,
    reason = CASE WHEN lost_leases + 1 >= :poison_after THEN 'POISON' ELSE reason END,
    due_at = CASE WHEN lost_leases + 1 >= :poison_after THEN NULL ELSE :now END,
    finished_at = CASE WHEN lost_leases + 1 >= :poison_after THEN :now ELSE NULL END
FROM expired WHERE inbox_events.id = expired.id AND inbox_events.state = 'PROCESSING'
RETURNING inbox_events.id, state

-- name: take_back_event
-- moves: IGNORED -> RECEIVED
-- A handler for it has appeared.
UPDATE inbox_events SET state = 'RECEIVED', due_at = :now, finished_at = NULL, updated_at = :now
WHERE id = :id AND state = 'IGNORED'

-- name: replay_event
-- moves: PROCESSED | DEAD | IGNORED | DISCARDED -> RECEIVED
-- An operator wants it run again.
UPDATE inbox_events
SET state = 'RECEIVED', due_at = :now, finished_at = NULL, updated_at = :now, reason = NULL, attempts = 0,
    lost_leases = 0, replays = replays + 1
WHERE id = :id AND state = :was AND state IN ('PROCESSED', 'DEAD', 'IGNORED', 'DISCARDED')

-- name: hurry_event
-- An operator does not want to wait for the next attempt: it is due now, and stays what it is.
UPDATE inbox_events SET due_at = :now, updated_at = :now WHERE id = :id AND state = 'RETRYING'

-- name: discard_event
-- moves: DEAD -> DISCARDED
-- An operator gives it up for good.
UPDATE inbox_events SET state = 'DISCARDED', updated_at = :now, finished_at = :now WHERE id = :id AND state = 'DEAD'

-- name: lock_event
-- The state of an event that an operator is about to move.
SELECT state FROM inbox_events WHERE id = :id {for_update}

-- name: find_siblings
-- All events of one request. They share its moment, with which their ids begin: so they are found by id.
SELECT id, external_id, weak, item, state, reason, type, subject, occurred_at, part FROM inbox_events
WHERE id >= :first AND id <= :last AND payload_id = :payload_id ORDER BY id {for_update}

-- name: reread_event
-- What is read in its request now. Whoever runs it at this moment has seen something else, so it is left alone then.
UPDATE inbox_events SET type = :type, subject = :subject, occurred_at = :occurred_at, part = :part, updated_at = :now
WHERE id = :id AND state <> 'PROCESSING'

-- name: revive_event
-- moves: DEAD -> RECEIVED
-- Nobody could read it, and now somebody can.
UPDATE inbox_events
SET state = 'RECEIVED', due_at = :now, finished_at = NULL, updated_at = :now, reason = NULL, last_error = NULL
WHERE id = :id AND state = 'DEAD' AND reason = 'UNPARSABLE'
