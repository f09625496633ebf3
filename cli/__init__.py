"""`deskbus`, what a person types: run, demo, check, audit, dlq, tail. No rule of a service is here."""
