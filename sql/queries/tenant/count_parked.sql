select count(*)
from parked_changes
where position(convert_to($1, 'UTF8') in change) > 0
    or position($1 in detail) > 0 or position($1 in row_key) > 0
