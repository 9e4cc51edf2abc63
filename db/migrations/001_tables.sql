-- The tables of the agent. Every row belongs to a scope: Teleport cluster name, slash, Jira project key.

-- One row per scope. A leader's transactions that write lock the row of their own epoch FOR KEY SHARE; since (name, epoch) is a key, the
-- statement that begins the next term waits for them.
CREATE TABLE leadership (
    name        text        NOT NULL PRIMARY KEY,
    epoch       bigint      NOT NULL,
    term        uuid        NOT NULL,
    holder      text        NOT NULL,
    acquired_at timestamptz NOT NULL DEFAULT now(),
    -- The holder of this epoch has given up leading and does nothing any more.
    resigned    boolean     NOT NULL,
    UNIQUE (name, epoch)
);

-- One row per Access Request: what both sides said of it, what the agent did, and when it looks again.
CREATE TABLE links (
    scope           text    NOT NULL COLLATE "C",
    request_id      text    NOT NULL COLLATE "C",
    -- Raised whenever a fact changes.
    seq             bigint  NOT NULL,

    -- Facts, written by observers. json and not jsonb: a requester's text may hold a NUL, which jsonb refuses.
    request         json    NOT NULL,
    state           text    NOT NULL,
    gone            boolean NOT NULL DEFAULT false,
    suspect_request boolean NOT NULL DEFAULT false,
    issue           json,
    issue_updated   timestamptz,
    suspect_issue   boolean NOT NULL DEFAULT false,
    -- Ids of other issues that hold the request's ID.
    strays          text[]  NOT NULL DEFAULT '{}',

    -- The agent's own work.
    issue_id        text,
    issue_key       text    NOT NULL DEFAULT '',
    mark            text    NOT NULL DEFAULT '',
    begun           text    NOT NULL DEFAULT '',
    begun_at        timestamptz,
    linked          boolean NOT NULL DEFAULT false,
    issue_gone      boolean NOT NULL DEFAULT false,
    placed          boolean NOT NULL DEFAULT false,
    commented       text[]  NOT NULL DEFAULT '{}',
    answered        text[]  NOT NULL DEFAULT '{}',
    resolved        text    NOT NULL DEFAULT '',
    settled_at      timestamptz,
    last_error      text    NOT NULL DEFAULT '',

    -- The queue, written by both: a changed fact makes the row due now.
    due             timestamptz,
    attempts        integer NOT NULL DEFAULT 0,
    parked          boolean NOT NULL DEFAULT false,

    PRIMARY KEY (scope, request_id),
    CONSTRAINT links_issue UNIQUE (scope, issue_id)
);

-- Closed rows outnumber open ones by far. They are in none of these but the last.
CREATE INDEX links_due ON links (scope, due, request_id) WHERE due IS NOT NULL;
CREATE INDEX links_open ON links (scope, request_id) WHERE settled_at IS NULL;
CREATE INDEX links_pending ON links (scope, issue_updated DESC NULLS FIRST, request_id)
    WHERE state = 'pending' AND NOT gone AND settled_at IS NULL;
CREATE INDEX links_parked ON links (scope) WHERE parked;
CREATE INDEX links_settled ON links (scope, settled_at) WHERE settled_at IS NOT NULL;

-- Up to which time, by Jira's clock, everything that Jira's index showed is recorded.
CREATE TABLE cursors (
    scope    text        NOT NULL PRIMARY KEY,
    position timestamptz NOT NULL
);

-- What was seen and done about each request, in order. Append-only.
CREATE TABLE activity (
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    scope      text        NOT NULL COLLATE "C",
    request_id text        NOT NULL COLLATE "C",
    at         timestamptz NOT NULL,
    epoch      bigint      NOT NULL,
    action     text        NOT NULL,
    outcome    text        NOT NULL,
    cause      text        NOT NULL,
    attempt    integer     NOT NULL,
    PRIMARY KEY (scope, request_id, id),
    FOREIGN KEY (scope, request_id) REFERENCES links ON DELETE CASCADE
);
