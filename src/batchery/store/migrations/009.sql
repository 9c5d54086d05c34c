-- Service environments: limits by instance type; and a name may be that of a compute and of a service environment.
CREATE TABLE environment_new (
    arn TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    kind TEXT NOT NULL,
    max_vcpus INTEGER NOT NULL CHECK (max_vcpus >= 0), -- of a service environment instances
    pool TEXT NOT NULL,
    doc TEXT NOT NULL, -- everything that is echoed
    state TEXT NOT NULL CHECK (state IN ('ENABLED', 'DISABLED')),
    status TEXT NOT NULL CHECK (status IN ('CREATING', 'UPDATING', 'DELETING', 'VALID', 'INVALID')),
    status_reason TEXT NOT NULL,
    uuid TEXT NOT NULL,
    created INTEGER NOT NULL,
    replaced INTEGER NOT NULL DEFAULT 0,
    replace_by INTEGER NOT NULL DEFAULT 0,
    units TEXT NOT NULL DEFAULT '[]' -- JSON [[instance type, thousandths], ...]
) STRICT, WITHOUT ROWID;

INSERT INTO environment_new (
    arn, name, account, region, kind, max_vcpus, pool, doc, state, status, status_reason, uuid, created, replaced,
    replace_by)
SELECT arn, name, account, region, kind, max_vcpus, pool, doc, state, status, status_reason, uuid, created, replaced,
    replace_by
FROM environment;
DROP TABLE environment;
ALTER TABLE environment_new RENAME TO environment;

CREATE UNIQUE INDEX environment_named ON environment (account, region, kind = 'SAGEMAKER_TRAINING', name);

-- The service environments of a queue are its environments.
ALTER TABLE queue DROP COLUMN services;
