-- How the loops of the leader of an epoch go, for those who ask the database. Written when that changes.
CREATE TABLE conditions (
    scope   text        NOT NULL COLLATE "C",
    loop    text        NOT NULL,
    epoch   bigint      NOT NULL,
    -- Empty: it works.
    problem text        NOT NULL,
    -- Since when it works, or fails.
    since   timestamptz NOT NULL,
    PRIMARY KEY (scope, loop)
);

-- A fact, written by an operator: nothing more is done about the request.
ALTER TABLE links ADD COLUMN dropped boolean NOT NULL DEFAULT false;

-- Operators ask by the issue's key.
CREATE INDEX links_key ON links (scope, issue_key) WHERE issue_key <> '';
