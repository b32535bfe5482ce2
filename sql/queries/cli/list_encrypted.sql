-- Rows of a table, a column of which is not encrypted with the key of this prefix.
select ctid::text as place, :keys, :"column" as ciphertext
from :"table"
where octet_length(:"column") > 0 and substring(:"column" from 1 for octet_length($1::bytea)) <> $1::bytea
    and not ctid = any ($2::text[]::tid[])
limit $3
for update
