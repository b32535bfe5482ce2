listen walhook_subscriptions; listen walhook_schedule; listen walhook_leases
