select not exists (select from pg_namespace where nspname = {schema}) and current_user <> {owner}
        and not rolsuper and not pg_has_role(
            current_user, {owner},
            case when current_setting('server_version_num')::integer >= 160000 then 'set' else 'member' end
        ) as joins
    from pg_roles where rolname = current_user \gset
\if :joins
grant {owner_name} to current_user;
\endif
select {create} where not exists (select from pg_namespace where nspname = {schema}) \gexec
\if :joins
revoke {owner_name} from current_user;
\endif
