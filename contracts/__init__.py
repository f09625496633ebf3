"""What Deskbus services and other systems exchange: events, commands, topics. Pydantic only.

Every package may import this one, which imports nothing else of Deskbus. Start at `contracts.envelope`. The models do
no IO; `contracts.generate` and `contracts.compat` keep schemas, documents and examples consistent with them.
"""
