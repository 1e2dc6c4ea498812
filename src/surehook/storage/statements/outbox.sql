-- name: insert_message
-- moves: (new) -> PENDING
-- Written only in the transaction that completes its event.
INSERT INTO outbox_messages
    (id, event_id, destination, type, subject, order_key, body, traceparent, state, due_at, created_at, updated_at)
VALUES
    (:id, :event_id, :destination, :type, :subject, :order_key, :body, :traceparent, 'PENDING', :at, :at, :at)

-- name: claim_messages
-- moves: PENDING | RETRYING -> SENDING
-- Take what is due for one destination, longest due first; the try is counted before it is made.
WITH due AS MATERIALIZED (
    SELECT id, due_at FROM outbox_messages
    WHERE destination = :destination AND state IN ('PENDING', 'RETRYING') AND due_at <= :now
        AND due_at >= :since
    ORDER BY due_at, id LIMIT :limit {skip_locked}
)
UPDATE outbox_messages
SET state = 'SENDING', attempts = attempts + 1, lease_token = lease_token + 1, lease_until = :lease_until,
    due_at = NULL, updated_at = :now
FROM due WHERE outbox_messages.id = due.id
RETURNING outbox_messages.id, lease_token, attempts, lost_leases, destination, type, subject, order_key, body,
    created_at, traceparent, {was_due}

-- name: extend_message
-- Prolong the lease of a message that is being sent. A row that somebody has locked is left out, as with events.
UPDATE outbox_messages SET lease_until = :lease_until
WHERE id = (SELECT id FROM outbox_messages WHERE id = :id AND state = 'SENDING' AND lease_token = :token {skip_locked})

-- name: held_message
-- Whether a try still has its lease.
SELECT id FROM outbox_messages WHERE id = :id AND state = 'SENDING' AND lease_token = :token

-- name: send_message
-- moves: SENDING -> SENT
-- The destination has proved that it has it.
UPDATE outbox_messages
SET state = 'SENT', lease_until = NULL, finished_at = :at, updated_at = :at, reason = NULL, last_error = NULL
WHERE id = :id AND state = 'SENDING' AND lease_token = :token

-- name: retry_message
-- moves: SENDING -> RETRYING
-- The try failed and another one follows.
UPDATE outbox_messages
SET state = 'RETRYING', lease_until = NULL, due_at = :due_at, updated_at = :at, last_error = :last_error,
    attempts = attempts - :uncount
WHERE id = :id AND state = 'SENDING' AND lease_token = :token

-- name: bury_message
-- moves: SENDING -> DEAD
-- The try failed and no other one follows until a person decides.
UPDATE outbox_messages
SET state = 'DEAD', lease_until = NULL, finished_at = :at, updated_at = :at, reason = :reason, last_error = :last_error
WHERE id = :id AND state = 'SENDING' AND lease_token = :token

-- name: release_message
-- moves: SENDING -> PENDING
-- Give a claim back: it is due at once, and with ``uncount`` its try was none.
UPDATE outbox_messages
SET state = 'PENDING', lease_until = NULL, due_at = :at, updated_at = :at, attempts = attempts - :uncount
WHERE id = :id AND state = 'SENDING' AND lease_token = :token

-- name: rescue_messages
-- moves: SENDING -> RETRYING | DEAD
-- Take back what a vanished publisher held.
WITH expired AS MATERIALIZED (
    SELECT id FROM outbox_messages WHERE state = 'SENDING' AND lease_until < :now
    ORDER BY lease_until LIMIT :limit {skip_locked}
)
UPDATE outbox_messages
SET lost_leases = lost_leases + 1, lease_until = NULL, updated_at = :now,
    last_error = 'the publisher vanished during the try (lease expired)',
    state = CASE WHEN lost_leases + 1 >= :poison_after THEN 'DEAD' ELSE 'RETRYING' END,
    reason = CASE WHEN lost_leases + 1 >= :poison_after THEN 'POISON' ELSE reason END,
    due_at = CASE WHEN lost_leases + 1 >= :poison_after THEN NULL ELSE :now END,
    finished_at = CASE WHEN lost_leases + 1 >= :poison_after THEN :now ELSE NULL END
FROM expired WHERE outbox_messages.id = expired.id AND outbox_messages.state = 'SENDING'
RETURNING outbox_messages.id, state

-- name: replay_message
-- moves: SENT | DEAD | DISCARDED -> PENDING
-- An operator wants it sent again, under the same message id.
UPDATE outbox_messages
SET state = 'PENDING', due_at = :now, finished_at = NULL, updated_at = :now, reason = NULL, attempts = 0,
    lost_leases = 0, replays = replays + 1
WHERE id = :id AND state = :was AND state IN ('SENT', 'DEAD', 'DISCARDED')

-- name: hurry_message
-- An operator does not want to wait for the next try: it is due now, and stays what it is.
UPDATE outbox_messages SET due_at = :now, updated_at = :now WHERE id = :id AND state = 'RETRYING'

-- name: discard_message
-- moves: DEAD -> DISCARDED
-- An operator gives it up for good.
UPDATE outbox_messages SET state = 'DISCARDED', updated_at = :now, finished_at = :now
WHERE id = :id AND state = 'DEAD'

-- name: lock_message
-- The state of a message that an operator is about to move.
SELECT state FROM outbox_messages WHERE id = :id {for_update}
