-- The schema. Rows are the truth; the CHECKs state what must hold of a single row.
--
-- Times are milliseconds since the epoch, 0 when absent; vCPUs are thousandths, memory is MiB.
-- Codes are those of core/status.py: 2 RUNNABLE, 3 STARTING, 4 RUNNING, 5 SUCCEEDED, 6 FAILED, 8 OFFERED.
-- Long texts that many rows name (ARNs, realms as "ACCOUNT/REGION", shapes as JSON) are stored once, in `symbol`.

CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    evaluated INTEGER NOT NULL DEFAULT 0 CHECK (evaluated >= 0), -- jobs up to this seq have been looked at
    epoch INTEGER NOT NULL DEFAULT 0, -- raised whenever a server opens the store
    probe INTEGER NOT NULL DEFAULT 0 -- raised to see whether commits work
) STRICT;
INSERT INTO meta (one) VALUES (1);

CREATE TABLE symbol (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE realm (
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    PRIMARY KEY (account, region)
) STRICT, WITHOUT ROWID;

-- ------------------------------------------------------------------------------------------------------------ jobs

-- What SubmitJob made. Narrow: a restart reads every open one. Ids sort by time, so the unique index grows at its end.
CREATE TABLE job (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    realm INTEGER NOT NULL REFERENCES symbol,
    queue INTEGER NOT NULL REFERENCES symbol,
    definition INTEGER NOT NULL REFERENCES symbol,
    shape INTEGER NOT NULL REFERENCES symbol,
    name TEXT NOT NULL,
    size INTEGER NOT NULL CHECK (size = 0 OR size >= 2), -- children; 0 for a plain job
    share TEXT NOT NULL,
    needs TEXT NOT NULL, -- '' or JSON [[job, index, kind], ...]
    created INTEGER NOT NULL,
    asked_kind INTEGER NOT NULL DEFAULT 0 CHECK (asked_kind BETWEEN 0 AND 7), -- bits: 1 cancel, 2 terminate, 4 void
    asked_reason TEXT NOT NULL DEFAULT '',
    asked_at INTEGER NOT NULL DEFAULT 0,
    code INTEGER CHECK (code IN (5, 6)), -- NULL while open: then its status is derived
    reason TEXT NOT NULL DEFAULT '',
    ended INTEGER NOT NULL DEFAULT 0,
    CHECK (asked_kind <> 0 OR (asked_reason = '' AND asked_at = 0)),
    CHECK (code IS NOT NULL OR (reason = '' AND ended = 0))
) STRICT;

CREATE INDEX job_of_queue ON job (queue, seq);
CREATE INDEX job_open ON job (seq) WHERE code IS NULL;
CREATE INDEX job_needing ON job (seq) WHERE code IS NULL AND needs <> '';
-- Written once, at the end.
CREATE INDEX job_ended ON job (queue, code, seq) WHERE code IS NOT NULL;
CREATE INDEX job_age ON job (ended) WHERE code IS NOT NULL;

-- The request as sent.
CREATE TABLE spec (
    seq INTEGER PRIMARY KEY,
    doc TEXT NOT NULL
) STRICT;

-- That tasks ended is a fact: indexes first <= i < upto ended alike. A plain job's end is in its own row.
CREATE TABLE ended (
    seq INTEGER NOT NULL,
    first INTEGER NOT NULL CHECK (first >= 0),
    upto INTEGER NOT NULL,
    code INTEGER NOT NULL CHECK (code IN (5, 6)),
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (seq, first),
    CHECK (first < upto)
) STRICT, WITHOUT ROWID;

-- A child that was asked to end by its own id. Everything else about a task follows from its attempts.
-- idx is the array index; 0 of a plain job.
CREATE TABLE task (
    seq INTEGER NOT NULL,
    idx INTEGER NOT NULL CHECK (idx >= 0),
    asked_kind INTEGER NOT NULL CHECK (asked_kind BETWEEN 1 AND 7),
    asked_reason TEXT NOT NULL,
    asked_at INTEGER NOT NULL,
    PRIMARY KEY (seq, idx)
) STRICT, WITHOUT ROWID;

-- One placement of one task, live or past.
CREATE TABLE attempt (
    seq INTEGER NOT NULL,
    idx INTEGER NOT NULL CHECK (idx >= 0),
    serial INTEGER NOT NULL CHECK (serial >= 1),
    used INTEGER NOT NULL CHECK (used BETWEEN 0 AND serial - 1), -- attempts used before this one
    environment INTEGER NOT NULL REFERENCES symbol,
    vcpus INTEGER NOT NULL CHECK (vcpus >= 0),
    memory INTEGER NOT NULL CHECK (memory >= 0),
    gpus INTEGER NOT NULL CHECK (gpus >= 0),
    code INTEGER NOT NULL CHECK (code IN (2, 3, 4, 5, 6, 8)), -- 2, 5 and 6 are outcomes
    counts INTEGER NOT NULL CHECK (counts IN (0, 1)), -- whether it used one of the job's attempts
    placed INTEGER NOT NULL,
    starting INTEGER NOT NULL,
    started INTEGER NOT NULL,
    stopped INTEGER NOT NULL,
    recall_kind INTEGER NOT NULL CHECK (recall_kind BETWEEN 0 AND 7),
    recall_reason TEXT NOT NULL,
    recall_at INTEGER NOT NULL,
    doom TEXT NOT NULL,
    cause TEXT NOT NULL,
    exit_code INTEGER,
    reason TEXT NOT NULL,
    status_reason TEXT NOT NULL,
    log_group INTEGER NOT NULL REFERENCES symbol,
    log_stream TEXT NOT NULL,
    address TEXT NOT NULL,
    cpu_ms INTEGER NOT NULL,
    peak_mib INTEGER NOT NULL,
    PRIMARY KEY (seq, idx, serial),
    CHECK (code NOT IN (3, 4, 8) OR (cause = '' AND exit_code IS NULL))
) STRICT, WITHOUT ROWID;

-- --------------------------------------------------------------------------------------------------- named resources

CREATE TABLE queue (
    arn TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    priority INTEGER NOT NULL CHECK (priority >= 0),
    environments TEXT NOT NULL, -- JSON [[order, arn], ...], ascending
    state TEXT NOT NULL CHECK (state IN ('ENABLED', 'DISABLED')),
    status TEXT NOT NULL CHECK (status IN ('CREATING', 'UPDATING', 'DELETING', 'VALID', 'INVALID')),
    type TEXT NOT NULL,
    policy TEXT NOT NULL,
    created INTEGER NOT NULL,
    blocked TEXT NOT NULL, -- JSON [{job, index, reason, since}, ...]
    UNIQUE (account, region, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE environment (
    arn TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    kind TEXT NOT NULL,
    max_vcpus INTEGER NOT NULL CHECK (max_vcpus >= 0),
    pool TEXT NOT NULL,
    doc TEXT NOT NULL, -- everything that is echoed
    state TEXT NOT NULL CHECK (state IN ('ENABLED', 'DISABLED')),
    status TEXT NOT NULL CHECK (status IN ('CREATING', 'UPDATING', 'DELETING', 'VALID', 'INVALID')),
    status_reason TEXT NOT NULL,
    uuid TEXT NOT NULL,
    created INTEGER NOT NULL,
    UNIQUE (account, region, name)
) STRICT, WITHOUT ROWID;

-- Kept, INACTIVE or not, while jobs refer to them: the effective spec of a job is merged when it is read.
CREATE TABLE definition (
    arn TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    revision INTEGER NOT NULL CHECK (revision >= 1),
    doc TEXT NOT NULL, -- the request as registered
    status TEXT NOT NULL CHECK (status IN ('ACTIVE', 'INACTIVE')),
    created INTEGER NOT NULL,
    deregistered INTEGER NOT NULL,
    UNIQUE (account, region, name, revision),
    CHECK (status = 'INACTIVE' OR deregistered = 0)
) STRICT;

CREATE TABLE tag (
    arn TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (arn, key)
) STRICT, WITHOUT ROWID;

-- --------------------------------------------------------------------------------------------------------------- logs

CREATE TABLE log_group (
    realm TEXT NOT NULL,
    name TEXT NOT NULL,
    created INTEGER NOT NULL,
    retention INTEGER NOT NULL CHECK (retention >= 0), -- days, 0 for ever
    PRIMARY KEY (realm, name)
) STRICT, WITHOUT ROWID;

-- One row per attempt that ran, made (with its group) when it first has a start.
CREATE TABLE stream (
    realm INTEGER NOT NULL REFERENCES symbol,
    log_group INTEGER NOT NULL REFERENCES symbol,
    name TEXT NOT NULL,
    container TEXT NOT NULL,
    created INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    serial INTEGER NOT NULL,
    PRIMARY KEY (realm, log_group, name)
) STRICT, WITHOUT ROWID;

-- ----------------------------------------------------------------------------------------------- what has happened

-- The changes of each commit; see store/feed.py. The last row always stays, so a number is never given twice.
CREATE TABLE feed (
    seq INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    at INTEGER NOT NULL, -- the newest stamp among the changes
    changes BLOB NOT NULL
) STRICT;

-- How far each reader of the feed is.
CREATE TABLE cursor (
    name TEXT PRIMARY KEY,
    seq INTEGER NOT NULL CHECK (seq >= 0)
) STRICT, WITHOUT ROWID;

-- Packs of activity records; see store/activity.py, which says what key is made of.
CREATE TABLE activity (
    key INTEGER PRIMARY KEY,
    realm TEXT NOT NULL, -- "ACCOUNT/REGION"
    last INTEGER NOT NULL, -- the newest record in the pack
    docs BLOB NOT NULL
) STRICT;

CREATE INDEX activity_of_realm ON activity (realm, key);
