"""Routing: every ticket finds the agent who can serve it, never above capacity. Learns from events alone."""
