-- to_jsonb reads columns that only newer servers have: pubgencols came with 18.
select
    puballtables as all_tables,
    pubinsert and pubupdate and pubdelete and pubtruncate as all_operations,
    pubviaroot as via_root,
    coalesce(to_jsonb(pg_publication) ->> 'pubgencols', 'n') = 's' as generated_columns,
    pg_has_role(current_user, pubowner, 'usage') as owned
from pg_publication
where pubname = $1
