-- How long a task was in the queue, as far as somebody saw: part of its duration.
ALTER TABLE duration ADD COLUMN queued_milliseconds INTEGER;
