"""What Deskbus services and other systems say to each other: events, commands, topics. Pydantic only.

Everyone may import this package and it imports nothing else of Deskbus. Start at `contracts.envelope`; the models do no
IO. `contracts.generate` and `contracts.compat` are tools that keep schemas, documents and examples in step with them.
"""
