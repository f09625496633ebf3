"""The rules of routing, as values in and values out. No IO, no clock, no framework."""
