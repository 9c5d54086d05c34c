-- How many units the job asks for as a whole: its shape says it too, but for a list of jobs it is at hand here.
ALTER TABLE job_consumable ADD COLUMN quantity INTEGER NOT NULL DEFAULT 1 CHECK (quantity >= 1);
