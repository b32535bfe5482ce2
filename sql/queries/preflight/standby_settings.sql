select
    current_setting('hot_standby_feedback')::boolean as feedback,
    current_setting('primary_slot_name') as primary_slot
