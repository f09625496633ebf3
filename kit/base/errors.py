"""The faults that kit and services tell apart by type. Texts for people over HTTP are in kit.doors.http."""


class TransientError(Exception):
    """A fault that may pass by itself (a server is away): try again later, with backoff."""


class Unparsable(Exception):
    """A record that no later try will read; it belongs in the dead letter queue."""

    def __init__(self, reason: str, *, exempt: bool = False) -> None:
        """Take the reason. The dead letter of an `exempt` record does not count towards stopping."""
        super().__init__(reason)
        self.exempt = exempt


class TooLarge(Exception):
    """No later try makes it fit: an event above the limit that the brokers take, or too many of one decision."""


class Full(TransientError):
    """The outbox of a document holds all it may; its partition waits for the broker."""


class Unloadable(TransientError):
    """The stored state of a document does not load here: a newer replica may have written it, or it is damaged."""


class InvalidPolicy(Exception):
    """A policy file that cannot come into force. Its text is one `file:line: reason` per fault."""

    def __init__(self, file: str, line: int, reason: str, *more: tuple[int, str]) -> None:
        """Name the first fault and, where they are known, the others."""
        self.file = file
        self.line = line
        self.reason = reason
        self.faults = ((line, reason), *more)
        super().__init__("\n".join(f"{file}:{at}: {why}" for at, why in self.faults))


class InvalidCertificate(Exception):
    """A certificate or its key that cannot be used. Its text names the file and the reason."""


class InvalidConnectionString(Exception):
    """A connection string that cannot be used. Its text never quotes it."""
