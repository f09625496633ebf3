"""The vocabulary of policy files: loading them, and the formats of durations, secrets, URLs and addresses.

Rule: a type that two services' files share is defined here once; conditions on tickets are in contracts/matching.py.
"""
