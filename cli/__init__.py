"""The command line `deskbus`: run, demo, check, topics, audit, dlq, tail. No business rules here."""
