"""The sla service: policies, calendars and clocks. Notify decides who is notified of a breach."""
