select id, status, attempts, last_http_status
from webhook_deliveries
where id = any ($1::uuid[])
