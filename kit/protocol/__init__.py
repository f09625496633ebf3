"""The protocol: how a record becomes a decision, a write and events, and what time makes happen."""
