"""The rules of notify: what is an alert, who is told, when again, when it is over. No IO, no clock, no framework.

The model: a ticket has one escalation, a document with the id "esc-" + ticket id, so what it has seen of each source is
one subject's. Within it stand alarms, one per alert and matching route, each with its own place in its chain, and the
notifications that are planned and not settled. Each alarm has one dedup key, the same for every receiver.
A ticket that never raises anything keeps at most its queue and agent.

The events `escalation.opened` and `escalation.resolved` come in pairs, one pair an alarm.
"""
