"""Conditions on a ticket's facts, shared by routing's rules, sla's policies and notify's routes.

A key of `Match` is the name of a fact: a field of `TicketFacts` or of its `Market`.

Rule: omitted keys match everything; every given key must match with at least one of its values. A fact that a ticket
does not have equals the empty string; `*` matches every other value. A key without values is refused, since it could
mean "any" or "none".
"""

from collections.abc import Callable
from functools import cached_property
from operator import attrgetter
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from contracts.languages import covers, language_range
from contracts.ticket import Market, Priority, TicketFacts
from contracts.values import OneOrMany, country_code

ANY = "*"
NONE = ""
_ANYTHING = {ANY, NONE}
_NOTHING = (NONE,)

_Test = Callable[[tuple[str, ...]], bool]
"""Return whether a condition holds for the values that a ticket has."""
ValuesOf = Callable[[str], tuple[str, ...]]
"""Return the values that a ticket or alert has for a key."""


def _not_empty(values: object) -> object:
    if values is None or values in ([], ()):
        raise ValueError("has no value: omit the key to match any ticket, or give a value")
    return values


def _each(check: Callable[[str], str], values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(value if value in _ANYTHING else check(value) for value in values)


def _countries(values: tuple[str, ...]) -> tuple[str, ...]:
    return _each(country_code, values)


def _languages(values: tuple[str, ...]) -> tuple[str, ...]:
    return _each(language_range, values)


def _priorities(values: tuple[str, ...]) -> tuple[str, ...]:
    return _each(_priority, values)


def _priority(text: str) -> str:
    if text not in set(Priority):
        raise ValueError(f"{text!r} is not a priority: {', '.join(Priority)}")
    return text


def _tags(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if value in _ANYTHING:
            raise ValueError(f"all_tags takes tags, not {value!r}")
    return values


Values = Annotated[OneOrMany[str], BeforeValidator(_not_empty)]
"""One or several values, any of which matches."""


class Match(BaseModel):
    """Conditions that must all hold; without conditions, every ticket matches.

    One value, or a list of which any matches; `*` matches any value, `""` matches if there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    brand: Values = ()
    """Any of these brands."""
    channel: Values = ()
    """Any of these channels."""
    account: Values = ()
    """Any of these channel accounts."""
    marketplace: Values = ()
    """Any of these marketplaces."""
    country: Annotated[Values, AfterValidator(_countries)] = ()
    """Any of these countries (of the market), ISO 3166-1 alpha-2."""
    language: Annotated[Values, AfterValidator(_languages)] = ()
    """Any of these languages (BCP 47): `pt` matches pt-BR, `zh-TW` also zh-Hant-TW (RFC 4647, extended filtering)."""
    tier: Values = ()
    """Any of these customer tiers."""
    priority: Annotated[Values, AfterValidator(_priorities)] = ()
    """Any of these priorities: low, normal, high, urgent."""
    tags: Values = ()
    """Any of these tags."""
    all_tags: Annotated[Values, AfterValidator(_tags)] = ()
    """All of these tags."""

    @model_serializer(mode="wrap")
    def _omit_empty(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: values for key, values in write(self).items() if values}

    @cached_property
    def _conditions(self) -> tuple[tuple[str, _Test], ...]:
        """The keys that are set, with their tests; cached, as they are evaluated for every ticket."""
        wanted_by_key = ((key, frozenset(getattr(self, key))) for key in type(self).model_fields)
        return tuple((key, _test(key, wanted)) for key, wanted in wanted_by_key if wanted)

    def holds(self, facts: TicketFacts) -> bool:
        """Return whether a ticket meets all conditions."""
        for key, test in self._conditions:  # noqa: SIM110 - a generator would cost as much as the tests
            if not test(_GETTERS[key](facts)):
                return False
        return True

    def failing(self, values_of: ValuesOf) -> str | None:
        """Return the first key that does not hold; None if all do."""
        return next((key for key, test in self._conditions if not test(values_of(key))), None)

    def holding(self, values_of: ValuesOf) -> str | None:
        """Return the first key that holds; None if none does."""
        return next((key for key, test in self._conditions if test(values_of(key))), None)


def _getter(key: str) -> Callable[[TicketFacts], tuple[str, ...]]:
    """Return the function that reads a key's values from a ticket's facts, or from its market."""
    fact = "tags" if key == "all_tags" else key
    read: Callable[[TicketFacts], Any] = attrgetter(f"market.{fact}" if fact in Market.model_fields else fact)
    if fact == "tags":
        return read

    def one(facts: TicketFacts) -> tuple[str, ...]:
        value = read(facts)
        return (value,) if value else ()

    return one


_GETTERS = {key: _getter(key) for key in Match.model_fields}
LABELS = tuple(key for key in Match.model_fields if key not in {"tags", "all_tags"})
"""Keys with a single value per ticket: alerts carry them as labels, and templates may use them."""


def labels(facts: TicketFacts) -> dict[str, str]:
    """Return a ticket's values of `LABELS`, without those that it does not have."""
    return {key: str(value) for key in LABELS for value in _GETTERS[key](facts)}


def _test(key: str, wanted: frozenset[str]) -> _Test:
    if key == "all_tags":
        return wanted.issubset
    if ANY in wanted:
        return (lambda _: True) if NONE in wanted else bool
    if key == "language":
        return lambda given: any(covers(each, tag) for each in wanted for tag in given) if given else NONE in wanted
    if key == "country":
        return lambda given: not wanted.isdisjoint(map(str.upper, given or _NOTHING))
    return lambda given: not wanted.isdisjoint(given or _NOTHING)
