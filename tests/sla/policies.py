"""Policies that the timelines share, and the desk at which a ticket has just been opened. No tests."""

from tests.sla.desk import Desk

FIRST = """
policies:
  - name: default
    targets: {first_reply: 30m, next_reply: 20m}
"""
RESOLUTION = """
policies:
  - name: default
    targets: {resolution: 120m}
"""
TOTAL = """
policies:
  - name: default
    targets: {total_resolution: 120m}
"""
TIERS = """
policies:
  - name: vip
    match: {tier: gold}
    targets: {first_reply: 10m}
  - name: default
    targets: {first_reply: {urgent: 15m, high: 25m, default: 60m}}
"""


def opened(text: str, **facts: object) -> Desk:
    desk = Desk(text, **facts)
    desk.take(desk.write.opened(0))
    return desk


# -- first reply -------------------------------------------------------------------------------------------------------
