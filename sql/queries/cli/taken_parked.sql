select reason, detail from parked_changes where commit_lsn = $1 and ordinal = $2 and rule = $3
