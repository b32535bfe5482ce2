-- Until the transaction ends: what triggers write names the entry that the change will have.
select set_config('walhook.audit_entry', $1, true)
