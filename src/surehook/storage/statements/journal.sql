-- name: insert_event_failure
-- Why one attempt at an event failed. Its number is the row's, which counts from 1 again after a replay.
INSERT INTO failures
    (id, row_id, attempt, error_type, message, detail, fingerprint, status, worker, started_at, failed_at)
SELECT :id, :row_id, attempts, :error_type, :message, :detail, :fingerprint, :status, :worker, :started_at, :failed_at
FROM inbox_events WHERE id = :row_id

-- name: insert_message_failure
-- Why one attempt at a message failed. Its number is the row's, which counts from 1 again after a replay.
INSERT INTO failures
    (id, row_id, attempt, error_type, message, detail, fingerprint, status, worker, started_at, failed_at)
SELECT :id, :row_id, attempts, :error_type, :message, :detail, :fingerprint, :status, :worker, :started_at, :failed_at
FROM outbox_messages WHERE id = :row_id

-- name: insert_rejection
-- A request that was refused.
INSERT INTO rejections
    (id, provider, topic, reason, detail, headers, body_sha256, body_size, remote, external_id, received_at, method, query,
     body)
VALUES
    (:id, :provider, :topic, :reason, :detail, :headers, :body_sha256, :body_size, :remote, :external_id, :received_at,
     :method, :query, :body)

-- name: trim_rejections
-- Only the newest stay; ids sort by time.
DELETE FROM rejections WHERE id <= (SELECT id FROM rejections ORDER BY id DESC LIMIT 1 OFFSET :keep)

-- name: trim_rejected_bodies
-- Of what is kept as it came only the newest stays so; of the rest the hash remains.
UPDATE rejections SET body = NULL, headers = '[]' WHERE id IN (
    SELECT id FROM (
        SELECT id, sum(octet_length(body) + octet_length(headers)) OVER (ORDER BY id DESC) AS size
        FROM rejections WHERE body IS NOT NULL
    ) AS sums
    WHERE size > :most
)

-- name: lock_rejection
-- Whether a refused request is still there, for who is about to let it in.
SELECT id FROM rejections WHERE id = :id {for_update}

-- name: delete_rejection
-- It was let in.
DELETE FROM rejections WHERE id = :id

-- name: last_audit_entry
-- The end of the chain.
SELECT seq, hash FROM audit_log ORDER BY seq DESC LIMIT 1

-- name: insert_audit_entry
-- One operator action, chained to the one before.
INSERT INTO audit_log (seq, at, actor, action, reason, subject, detail, previous_hash, hash)
VALUES (:seq, :at, :actor, :action, :reason, :subject, :detail, :previous_hash, :hash)
