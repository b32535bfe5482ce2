delete from jobs where finished_at < $1
