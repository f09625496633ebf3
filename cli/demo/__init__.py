"""`deskbus demo`: services of its own, customers, agents and receivers, for most of a minute; then the audit."""
