"""The rules of routing, as pure functions. No IO, no clock, no framework."""
