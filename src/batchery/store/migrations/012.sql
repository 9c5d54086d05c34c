-- ListJobsByConsumableResource by name.
ALTER TABLE job_consumable ADD COLUMN job_name TEXT NOT NULL DEFAULT '';
UPDATE job_consumable SET job_name = coalesce((SELECT name FROM job WHERE job.seq = job_consumable.seq), '');
CREATE INDEX job_consumable_named ON job_consumable (consumable, job_name COLLATE NOCASE, seq, ended_code);
