-- For sessions whose statements find some hundred rows by their keys. The planner's
-- statistics are as old as the last ANALYZE, and its plans are kept: one that was made while
-- a table was nearly empty, or had other rows, would read the whole of it for ever after.
set enable_seqscan = off;
set enable_hashjoin = off;
set enable_mergejoin = off
