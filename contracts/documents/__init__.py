"""Generators of the JSON Schemas, the AsyncAPI document and the catalogue. Not used by services."""
