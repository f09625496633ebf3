"""How Deskbus is run: images, charts, examples, and the local stack. No service code."""
