"""The model of notify.yaml: the policy of core/policy.py, in which every receiver has the keys of its sink.

Rule: the file refers to secrets and never contains them (kit/policy/secrets.py).
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
else:  # built from the table; mypy cannot follow that
    AnyReceiver = Annotated[reduce(or_, (kind.receiver for kind in SINKS.values())), Field(discriminator="sink")]


class NotifyFile(NotifyPolicy):
    """The whole file."""

    receivers: Mapping[Name, AnyReceiver] = Field(min_length=1)
    """Receivers by name."""
