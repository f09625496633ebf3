"""notify.yaml as people write it: the policy of core/policy.py, in which a receiver has the keys of its sink.

Rule: a secret is named, never written (kit/policy/secrets.py).
"""

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from services.notify.core.policy import Name, NotifyPolicy, Receiver
from services.notify.sinks import SINKS

if TYPE_CHECKING:
    AnyReceiver = Receiver
else:  # made of the table, where mypy cannot follow
    AnyReceiver = Annotated[reduce(or_, (kind.receiver for kind in SINKS.values())), Field(discriminator="sink")]


class NotifyFile(NotifyPolicy):
    """The whole file."""

    receivers: Mapping[Name, AnyReceiver] = Field(min_length=1)
    """Receivers by name."""
