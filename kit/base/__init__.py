"""What everything may use: clock, ids, errors, logs, metrics, settings."""
