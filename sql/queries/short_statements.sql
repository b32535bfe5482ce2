set statement_timeout = '2s'
