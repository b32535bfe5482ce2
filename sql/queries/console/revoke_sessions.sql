-- By any of: the link that opened it, its own id, its tenant, its actor.
update portal_sessions set revoked_at = now()
where revoked_at is null and expires_at > now()
    and ($1::uuid is null or link_id = $1)
    and ($2::uuid is null or id = $2)
    and ($3::text is null or tenant_id = $3)
    and ($4::text is null or actor = $4)
returning tenant_id
