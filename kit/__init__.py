"""What every service does identically: delivery, document outbox, Mongo, doors, health, metrics, logging, settings.

kit knows no ticket: nothing in here names a channel, an agent or a clock of a customer.
"""
