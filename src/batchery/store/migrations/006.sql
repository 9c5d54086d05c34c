-- Scheduling policies, what the shares of a queue have used, and what a queue says of service environments and of jobs
-- that are blocked at its head.

CREATE TABLE policy (
    arn TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('FAIR', 'QUOTA')),
    doc TEXT NOT NULL, -- the policy as sent
    decay INTEGER NOT NULL CHECK (decay > 0), -- ms
    reservation INTEGER NOT NULL CHECK (reservation BETWEEN 0 AND 99),
    weights TEXT NOT NULL, -- JSON [[identifier, weight], ...]
    created INTEGER NOT NULL,
    UNIQUE (account, region, name)
) STRICT, WITHOUT ROWID;

-- Kept while a share is active, and until its queue needs the room. spent: thousandths of a vCPU times ms, as of `at`.
CREATE TABLE share (
    queue TEXT NOT NULL,
    share TEXT NOT NULL CHECK (share <> ''),
    spent INTEGER NOT NULL CHECK (spent >= 0),
    at INTEGER NOT NULL,
    PRIMARY KEY (queue, share)
) STRICT, WITHOUT ROWID;

ALTER TABLE queue ADD COLUMN services TEXT NOT NULL DEFAULT '[]'; -- JSON [[order, arn], ...], ascending
ALTER TABLE queue ADD COLUMN limits TEXT NOT NULL DEFAULT '[]'; -- JSON [{reason, ms, action}, ...]

-- ListJobs by share identifier.
CREATE INDEX job_of_share ON job (queue, share, seq) WHERE share <> '';
