"""The sla service: policies, calendars and clocks. Who is told about a breach is notify's to say."""
