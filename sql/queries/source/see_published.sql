update published_tables set seen_lsn = $2
where slot = $1 and not missing and seen_lsn < $2
