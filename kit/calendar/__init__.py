"""Opening hours, holidays and working time, for deadlines, shifts and mute times alike. No tickets, no policies.

hours: how a week is written. working_time: what it comes to in UTC. written: both as a policy file has them.
"""
