"""Servers: one for development, one for production. Both stand on granian (the extra ``carboy[server]``)."""
