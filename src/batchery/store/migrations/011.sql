-- ListJobs by share identifier and ListJobsByConsumableResource by status, of jobs that have ended.
CREATE INDEX job_share_ended ON job (queue, share, code, seq) WHERE code IS NOT NULL AND share <> '';

ALTER TABLE job_consumable ADD COLUMN ended_code INTEGER; -- of the job, NULL while it is open
UPDATE job_consumable SET ended_code = (SELECT code FROM job WHERE job.seq = job_consumable.seq);
CREATE INDEX job_consumable_ended ON job_consumable (consumable, ended_code, seq) WHERE ended_code IS NOT NULL;
CREATE TRIGGER job_with_consumables_ends AFTER UPDATE OF code ON job WHEN new.code IS NOT NULL BEGIN
    UPDATE job_consumable SET ended_code = new.code WHERE seq = new.seq;
END;
