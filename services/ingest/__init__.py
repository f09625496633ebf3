"""Ingest: messages come in by every channel and become tickets; replies go out."""
