delete from audit_log where at < $1
