-- Until the transaction ends: what is encrypted again is no change of a subscription's settings.
select set_config('walhook.encrypts_again', 'on', true)
