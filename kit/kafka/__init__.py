"""How records are read from Kafka and written to it, and how far a partition is handled."""
