"""How a service is put together, lives and ends."""
