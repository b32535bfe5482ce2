-- For this transaction: of a burst the planner has no statistics yet, and would read and
-- sort all of it for its first rows, which an index has in order.
set local enable_sort = off;
set local enable_bitmapscan = off
