insert into leads (tenant_id, name, email, company)
values ($1, $2, $3, $4)
