-- An infrastructure update of an environment under way: since when, and when what began before it is ended. ms, 0 none.
ALTER TABLE environment ADD COLUMN replaced INTEGER NOT NULL DEFAULT 0;
ALTER TABLE environment ADD COLUMN replace_by INTEGER NOT NULL DEFAULT 0;
