"""`deskbus demo`: runs its own services with simulated customers, agents and receivers for a minute, then the audit."""
