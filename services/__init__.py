"""The services. Each is a room of its own: none imports another, none reads another's database."""
