-- Filters of ListJobs: by name (without case) and by definition, newest first.
CREATE INDEX job_named ON job (queue, name COLLATE NOCASE, seq);
CREATE INDEX job_defined ON job (queue, definition, seq);
