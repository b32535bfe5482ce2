delete from delivery_stats where minutes = 1440 and at < $1
