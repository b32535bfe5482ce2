-- Those that were mapped again and cannot be sent either, with the present reason.
update parked_changes p
set reason = s.reason, detail = s.detail, retried_at = p.retry_asked_at, retry_asked_at = null
from unnest($1::pg_lsn[], $2::int8[], $3::text[], $4::text[], $5::text[])
    as s (commit_lsn, ordinal, rule, reason, detail)
where p.commit_lsn = s.commit_lsn and p.ordinal = s.ordinal and p.rule = s.rule
    and p.retry_asked_at is not null
