-- Quota shares of job queues.
CREATE TABLE quota (
    arn TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    queue TEXT NOT NULL,
    limits TEXT NOT NULL, -- JSON [[instance type, thousandths], ...]
    strategy TEXT NOT NULL CHECK (strategy IN ('RESERVE', 'LEND', 'LEND_AND_BORROW')),
    borrow INTEGER NOT NULL CHECK (borrow >= -1), -- percent, -1 without end
    in_share INTEGER NOT NULL CHECK (in_share IN (0, 1)),
    state TEXT NOT NULL CHECK (state IN ('ENABLED', 'DISABLED')),
    status TEXT NOT NULL CHECK (status IN ('CREATING', 'UPDATING', 'DELETING', 'VALID', 'INVALID')),
    created INTEGER NOT NULL,
    UNIQUE (queue, name)
) STRICT, WITHOUT ROWID;
