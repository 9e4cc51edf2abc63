-- The outcome to whose status the agent is taking the issue through others; empty once it is there.
ALTER TABLE links ADD COLUMN walking text NOT NULL DEFAULT '';
-- The last issue key that was known before a create was begun: what Jira made since has a later one.
ALTER TABLE links ADD COLUMN begun_after text NOT NULL DEFAULT '';
-- How often a conclusion about the request was taken back.
ALTER TABLE links ADD COLUMN retracted integer NOT NULL DEFAULT 0;
-- Since when all answers agree that what is believed of the request, or of the issue, is wrong; NULL: they do not.
ALTER TABLE links ADD COLUMN request_doubt timestamptz;
ALTER TABLE links ADD COLUMN issue_doubt timestamptz;
-- When Teleport last confirmed that it holds the request as pending.
ALTER TABLE links ADD COLUMN checked_at timestamptz;

-- All times of the agent's own are by this server's clock. When due was set: a time that is still to come tells that the clock was set back since, and due with
-- it is too late. NULL: set by an earlier release, or never.
ALTER TABLE links ADD COLUMN due_set timestamptz;
ALTER TABLE hints ADD COLUMN due_set timestamptz;

-- When the holder of the term proved last that it leads and that this server takes writes.
ALTER TABLE leadership ADD COLUMN renewed_at timestamptz;

-- Closed rows whose issue Jira did not show: it may come back.
CREATE INDEX links_lost ON links (scope, request_id) WHERE settled_at IS NOT NULL AND issue_gone;

-- The names under which each status was seen. They change with the language of the account; the id does not. Times by Jira's clock.
CREATE TABLE statuses (
    scope      text        NOT NULL COLLATE "C",
    status_id  text        NOT NULL,
    name       text        NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen  timestamptz NOT NULL,
    PRIMARY KEY (scope, status_id, name)
);
