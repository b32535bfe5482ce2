-- Decodes the next transaction, as the stream would, and forgets it.
select count(*)
from pg_logical_slot_peek_binary_changes($1, null, 1,
    'proto_version', '1', 'publication_names', $2, 'messages', 'true')
