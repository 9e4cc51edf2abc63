-- Each row has its mark from the beginning, so that the claim of a request needs no record before it.
ALTER TABLE links ALTER COLUMN mark SET DEFAULT replace(gen_random_uuid()::text, '-', '');
UPDATE links SET mark = DEFAULT WHERE mark = '' AND issue_id IS NULL AND settled_at IS NULL;
