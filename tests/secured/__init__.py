"""A Kafka with TLS, users and ACLs, for tests; it lives as long as the session."""
