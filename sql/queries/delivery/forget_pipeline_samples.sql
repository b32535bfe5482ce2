delete from pipeline_samples where at < $1::timestamptz - interval '7 days'
