-- Deliveries that instances have in memory: they have ids at or above their low water.
select count(*)
from webhook_deliveries
where status = 'pending' and owner is not null
    and id >= (select low_water from instances order by low_water limit 1)
