-- Rows of a table, a column of which holds one that is not encrypted with the key of this prefix.
select ctid::text as place, :keys, :"column" as ciphertexts
from :"table"
where exists (
        select
        from unnest(:"column") as one (value)
        where substring(value from 1 for octet_length($1::bytea)) <> $1::bytea
    )
    and not ctid = any ($2::text[]::tid[])
limit $3
for update
