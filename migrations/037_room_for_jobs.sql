-- As for tasks: the one change of a job, when it is taken, finds room on its page, which writes less. A step of its own: it waits for a vacuum or
-- a reindex of the queue, and nobody waits for it.

alter table klingwatch.river_job set (fillfactor = 50);
