delete from rule_stats where hour < $1::timestamptz - interval '400 days'
