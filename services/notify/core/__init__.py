"""The rules of notify: what is an alert, who is notified and how often, when it ends. No IO, no clock, no framework.

The model: a ticket has one escalation, a document with the id "esc-" + ticket id, so the events it has seen of a source
are those of one subject. It holds alarms, one per alert and matching route, each at its own step of its chain, and the
notifications that are not settled yet. Each alarm has one dedup key, the same for every receiver.
For a ticket without alerts, at most its queue and agent are stored.

The events `escalation.opened` and `escalation.resolved` come in pairs, one pair per alarm.
"""
