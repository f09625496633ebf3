"""Rules of tickets, threads and contacts, as pure functions. No IO, no clock, no framework."""
