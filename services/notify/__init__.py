"""The notify service: alerts people when a ticket needs them, until someone acknowledges or the cause is resolved."""
