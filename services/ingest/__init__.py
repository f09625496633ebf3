"""Ingest: receive messages from all channels, turn them into tickets, send replies."""
