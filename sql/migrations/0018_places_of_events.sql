-- A delivery's place in its row's order is its event's: it is not written twice.
alter table webhook_deliveries
    drop column commit_lsn,
    drop column ordinal,
    drop column rule_index,
    drop column row_key;
