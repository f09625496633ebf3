"""`deskbus`: what a person types. Starts services for run and demo, reads topics for audit and tail, replays letters."""
