-- It takes no more subscriptions; the others share those that it gives back.
update instances set roles = array_remove(roles, 'deliver') where id = $1
