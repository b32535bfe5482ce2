grant walhook_tenant to current_user
