"""Routing's documents: tickets, agents, and the claims between them. Only this room speaks to MongoDB, through kit."""
