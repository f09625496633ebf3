"""How a service is reached: HTTP, its bounds, and health."""
