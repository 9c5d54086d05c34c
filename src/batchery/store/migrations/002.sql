-- How each of several containers of an attempt ended: '' or JSON [{name, exit_code, reason, decides}, ...].
ALTER TABLE attempt ADD COLUMN containers TEXT NOT NULL DEFAULT '';

-- Streams of several containers are forgotten by their job; the one of a single container is named by its attempt.
CREATE INDEX stream_of_job ON stream (seq) WHERE container <> 'default';
