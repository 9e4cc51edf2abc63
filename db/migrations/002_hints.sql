-- Issues that webhooks named: to be read again. One row per issue, however many webhooks, and only of issues that a row of links names: who can
-- send webhooks cannot fill the table.
CREATE TABLE hints (
    scope       text        NOT NULL COLLATE "C",
    issue_id    text        NOT NULL,
    -- When the issue changed last, by Jira's clock, as the webhooks claim; NULL: one of them did not say.
    claimed     timestamptz,
    received_at timestamptz NOT NULL DEFAULT now(),
    -- Raised by each webhook, so that a look which began before the last one does not answer it.
    seq         bigint      NOT NULL DEFAULT 1,
    -- How often the issue was read since the last webhook, and when it is read next. By the server's clock: another replica than
    -- the one that reads may have written it.
    looks       integer     NOT NULL DEFAULT 0,
    due         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, issue_id),
    FOREIGN KEY (scope, issue_id) REFERENCES links (scope, issue_id) ON DELETE CASCADE
);

CREATE INDEX hints_due ON hints (scope, due, issue_id);
