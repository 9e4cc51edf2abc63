-- Each row has its mark from the beginning, so that the claim of a request needs no record before it.
ALTER TABLE links ALTER COLUMN mark SET DEFAULT replace(gen_random_uuid()::text, '-', '');
-- An operator may take up again what was dropped.
UPDATE links SET mark = DEFAULT WHERE mark = '' AND issue_id IS NULL AND (settled_at IS NULL OR dropped);

-- A person may have moved the issue: the row is worked on before all that are not urgent, however long those have been due. One index serves both,
-- each in the order of the queue.
ALTER TABLE links ADD COLUMN urgent boolean NOT NULL DEFAULT false;
DROP INDEX links_due;
CREATE INDEX links_due ON links (scope, urgent, due, request_id) WHERE due IS NOT NULL;
