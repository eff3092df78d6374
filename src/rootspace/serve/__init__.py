"""A trained run behind HTTP: server, page and client. Modules are imported one by one."""
