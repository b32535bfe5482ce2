update store
set encryption_key_id = $1, encryption_key_check = $2
where encryption_key_id is distinct from $1
