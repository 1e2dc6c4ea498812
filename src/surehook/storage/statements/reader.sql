-- name: find_events
-- A page of events, newest first. A parameter that is NULL does not restrict.
SELECT id, provider, topic, external_id, weak, type, subject, item, payload_id, state, reason, attempts, lost_leases,
    duplicates, replays, occurred_at, received_at, due_at, lease_until, updated_at, finished_at, last_error, traceparent
FROM inbox_events
WHERE (CAST(:before AS {uuid}) IS NULL OR id < :before)
  AND (CAST(:state AS text) IS NULL OR state = :state)
  AND (CAST(:provider AS text) IS NULL OR provider = :provider)
  AND (CAST(:type AS text) IS NULL OR type = :type)
  AND (CAST(:type_prefix AS text) IS NULL OR substr(type, 1, length(:type_prefix)) = :type_prefix)
  AND (CAST(:external_id AS text) IS NULL OR external_id = :external_id)
  AND (CAST(:since AS bigint) IS NULL OR received_at >= :since)
ORDER BY id DESC LIMIT :limit

-- name: get_event
-- One event.
SELECT id, provider, topic, external_id, weak, type, subject, item, payload_id, state, reason, attempts, lost_leases,
    duplicates, replays, occurred_at, received_at, due_at, lease_until, updated_at, finished_at, last_error, traceparent
FROM inbox_events WHERE id = :id

-- name: get_payload
-- One request as it came.
SELECT id, provider, topic, body, headers, content_type, sha256, received_at, secret FROM inbox_payloads WHERE id = :id

-- name: find_messages
-- A page of messages, newest first. A parameter that is NULL does not restrict.
SELECT id, event_id, destination, type, subject, order_key, state, reason, attempts, lost_leases, replays, created_at,
    due_at, lease_until, updated_at, finished_at, last_error, length(body), traceparent
FROM outbox_messages
WHERE (CAST(:before AS {uuid}) IS NULL OR id < :before)
  AND (CAST(:state AS text) IS NULL OR state = :state)
  AND (CAST(:destination AS text) IS NULL OR destination = :destination)
  AND (CAST(:type AS text) IS NULL OR type = :type)
  AND (CAST(:type_prefix AS text) IS NULL OR substr(type, 1, length(:type_prefix)) = :type_prefix)
  AND (CAST(:event_id AS {uuid}) IS NULL OR event_id = :event_id)
ORDER BY id DESC LIMIT :limit

-- name: get_message
-- One message.
SELECT id, event_id, destination, type, subject, order_key, state, reason, attempts, lost_leases, replays, created_at,
    due_at, lease_until, updated_at, finished_at, last_error, length(body), traceparent
FROM outbox_messages WHERE id = :id

-- name: get_message_body
-- The bytes that are delivered.
SELECT body FROM outbox_messages WHERE id = :id

-- name: find_failures
-- The failed attempts of one row, oldest first.
SELECT attempt, error_type, message, detail, fingerprint, started_at, failed_at, worker, status
FROM failures WHERE row_id = :row_id ORDER BY failed_at, id

-- name: find_rejections
-- A page of refused requests, newest first, without their bodies. A parameter that is NULL does not restrict.
SELECT id, body IS NOT NULL, provider, topic, reason, detail, headers, body_sha256, body_size, received_at, remote,
    external_id, method, query
FROM rejections
WHERE (CAST(:before AS {uuid}) IS NULL OR id < :before)
  AND (CAST(:provider AS text) IS NULL OR provider = :provider)
  AND (CAST(:reason AS text) IS NULL OR reason = :reason)
  AND (CAST(:since AS bigint) IS NULL OR received_at >= :since)
ORDER BY id DESC LIMIT :limit

-- name: get_rejection
-- One refused request, with its body where that is kept.
SELECT id, body IS NOT NULL, provider, topic, reason, detail, headers, body_sha256, body_size, received_at, remote,
    external_id, method, query, body
FROM rejections WHERE id = :id

-- name: find_audit
-- The newest operator actions.
SELECT seq, at, actor, action, reason, subject, detail, previous_hash, hash
FROM audit_log ORDER BY seq DESC LIMIT :limit

-- name: find_audit_of
-- What people did to one row, newest first.
SELECT seq, at, actor, action, reason, subject, detail, previous_hash, hash
FROM audit_log WHERE subject = :subject ORDER BY seq DESC LIMIT :limit

-- name: count_events
-- How many events stand in each state, of the first ones that come to hand.
SELECT state, count(*), sum(duplicates)
FROM (SELECT state, duplicates FROM inbox_events LIMIT :bound) AS capped GROUP BY state

-- name: count_named_events
-- How many events stand in each state that has an index, up to a bound each, and about how many there are in all.
SELECT 'PROCESSING', count(*) FROM (SELECT 1 FROM inbox_events WHERE lease_until > 0 LIMIT :bound) AS capped
UNION ALL
SELECT 'RETRYING', count(*) FROM (SELECT 1 FROM inbox_events WHERE state = 'RETRYING' LIMIT :bound) AS capped
UNION ALL
SELECT 'IGNORED', count(*) FROM (SELECT 1 FROM inbox_events WHERE state = 'IGNORED' LIMIT :bound) AS capped
UNION ALL
SELECT 'DEAD', count(*) FROM (SELECT 1 FROM inbox_events WHERE state = 'DEAD' LIMIT :bound) AS capped
UNION ALL
SELECT 'DISCARDED', count(*) FROM (SELECT 1 FROM inbox_events WHERE state = 'DISCARDED' LIMIT :bound) AS capped
UNION ALL
SELECT 'WAITING', count(*) FROM
    (SELECT 1 FROM inbox_events WHERE due_at > 0 LIMIT :bound) AS capped
UNION ALL
SELECT 'ALL', {about_events}

-- name: count_messages
-- How many messages stand in each state, of the first ones that come to hand.
SELECT state, count(*) FROM (SELECT state FROM outbox_messages LIMIT :bound) AS capped GROUP BY state

-- name: count_named_messages
-- How many messages stand in each state that has an index, up to a bound each, and about how many there are in all.
SELECT 'SENDING', count(*) FROM (SELECT 1 FROM outbox_messages WHERE lease_until > 0 LIMIT :bound) AS capped
UNION ALL
SELECT 'RETRYING', count(*) FROM (SELECT 1 FROM outbox_messages WHERE state = 'RETRYING' LIMIT :bound) AS capped
UNION ALL
SELECT 'DEAD', count(*) FROM (SELECT 1 FROM outbox_messages WHERE state = 'DEAD' LIMIT :bound) AS capped
UNION ALL
SELECT 'DISCARDED', count(*) FROM (SELECT 1 FROM outbox_messages WHERE state = 'DISCARDED' LIMIT :bound) AS capped
UNION ALL
SELECT 'WAITING', count(*) FROM
    (SELECT 1 FROM outbox_messages WHERE state IN ('PENDING', 'RETRYING') LIMIT :bound) AS capped
UNION ALL
SELECT 'ALL', {about_messages}

-- name: count_rejections
-- How many refused requests of each kind are kept.
SELECT reason, count(*) FROM rejections GROUP BY reason

-- name: find_ignored
-- Events that were IGNORED lately, in the order in which they were.
SELECT id, provider, topic, type, finished_at FROM inbox_events
WHERE state = 'IGNORED' AND (finished_at, id) > (:since, :after) ORDER BY finished_at, id LIMIT :limit

-- name: find_due
-- Events that have been due since before a moment and that nobody has claimed.
SELECT id FROM inbox_events WHERE state IN ('RECEIVED', 'RETRYING') AND due_at <= :before ORDER BY due_at, id LIMIT :limit

-- name: database_time
-- The database's clock in milliseconds.
SELECT {now_ms}
