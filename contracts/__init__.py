"""What Deskbus services and other systems say to each other: events, commands, topics. Pydantic only, no IO.

Everyone may import this package and it imports nothing else of Deskbus. Start at `contracts.envelope`.
"""
