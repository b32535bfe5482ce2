-- What has not been redeemed, by any of: its id, its tenant, its actor.
update portal_links set revoked_at = now()
where revoked_at is null and redeemed_at is null and expires_at > now()
    and $2::uuid is null
    and ($1::uuid is null or id = $1)
    and ($3::text is null or tenant_id = $3)
    and ($4::text is null or actor = $4)
returning tenant_id
