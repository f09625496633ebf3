"""Opening hours, holidays and working time, for deadlines, shifts and mute times. No tickets, no policies.

`hours` parses the hours of a week or a date, `working_time` computes with them in UTC, `spec` is their form in policy
files.
"""
