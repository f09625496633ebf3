"""Notify: tells people when a ticket needs them, again until somebody acknowledges or it is over."""
