-- Multi-node jobs: how many nodes (0 for other jobs, whose `size` tells of children), and which is the main one.
ALTER TABLE job ADD COLUMN nodes INTEGER NOT NULL DEFAULT 0 CHECK (nodes >= 0);
ALTER TABLE job ADD COLUMN main INTEGER NOT NULL DEFAULT 0 CHECK (main >= 0);
