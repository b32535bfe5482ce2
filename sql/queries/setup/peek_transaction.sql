-- Decodes the next transactions, as the stream would, up to the end of the one in which
-- the number of messages is reached, and forgets them. How many messages there were, and
-- how many besides those that begin (66) and commit (67): 14 sends empty transactions.
select count(*), count(*) filter (where get_byte(data, 0) not in (66, 67))
from pg_logical_slot_peek_binary_changes($1, null, $3,
    'proto_version', '1', 'publication_names', $2, 'messages', 'true')
