"""The vocabulary of policy files: how they are read, and how a duration, a secret, a URL, an address is written.

Rule: a word that two services' files share is written here once; what matches tickets is in contracts/matching.py.
"""
