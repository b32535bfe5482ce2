-- Which rules an instance has, and since when: they can be read anew while it runs. Two
-- that may lead the capture should have the same.
alter table instances
    add column rules_hash text,
    add column rules_loaded_at timestamptz;
