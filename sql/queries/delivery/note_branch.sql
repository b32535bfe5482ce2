update store set branched_at = coalesce(branched_at, now())
