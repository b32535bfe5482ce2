delete from gaps
where slot = $1 and kind = $2 and wedged and accepted_at is null and to_lsn is null
