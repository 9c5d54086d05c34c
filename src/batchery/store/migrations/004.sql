-- Consumable resources, which jobs ask for which, and the clientTokens of requests that have acted.

CREATE TABLE consumable (
    arn TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('REPLENISHABLE', 'NON_REPLENISHABLE')),
    total INTEGER NOT NULL CHECK (total >= 0), -- less what attempts have used up
    created INTEGER NOT NULL,
    UNIQUE (account, region, name)
) STRICT, WITHOUT ROWID;

-- A row is made with its job. How much is asked for is in the job's shape.
CREATE TABLE job_consumable (
    consumable INTEGER NOT NULL REFERENCES symbol,
    seq INTEGER NOT NULL,
    PRIMARY KEY (consumable, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_consumable_of_job ON job_consumable (seq);

CREATE TABLE client_token (
    scope TEXT NOT NULL, -- the ARN that the request was about
    token TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (scope, token)
) STRICT, WITHOUT ROWID;
