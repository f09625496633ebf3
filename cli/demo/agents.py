"""The agents of the demo. Only data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Person:
    """An agent of the demo."""

    id: str
    name: str
    languages: tuple[str, ...]
    capacity: int = 8
    skills: dict[str, int] = field(default_factory=dict)
    brands: tuple[str, ...] = ()

    def body(self) -> dict[str, Any]:
        """Return the body for routing's API of agents."""
        return {
            "name": self.name,
            "email": f"{self.id}@desk.example",
            "languages": list(self.languages),
            "skills": self.skills,
            "brands": list(self.brands),
            "capacity": self.capacity,
        }


AGENTS = (
    Person("niran", "Niran Chaiyasit", ("th", "en"), skills={"returns": 2}),
    Person("ploy", "Ploy Suwan", ("th",), brands=("korale",)),
    Person("kanya", "Kanya Rattana", ("th",), skills={"billing": 4}),
    Person("ewa", "Ewa Zielińska", ("pl",)),
    Person("tomasz", "Tomasz Lis", ("pl", "en"), skills={"returns": 3}),
    Person("agata", "Agata Król", ("pl",), skills={"billing": 3}),
    Person("minseo", "한민서", ("ko",)),
    Person("jiwoo", "정지우", ("ko", "en"), brands=("korale",)),
    Person("james", "James Fletcher", ("en",), skills={"returns": 4}),
    Person("grace", "Grace Ahmed", ("en",), skills={"billing": 2}),
    Person("lucy", "Lucy Brown", ("en",), brands=("nimbus",)),
    Person("victor", "Victor Lang", ("en", "ko"), capacity=3, skills={"vip": 4}),
)
LEAVES = "ewa"
"""Goes offline during the demo, with unanswered tickets."""
LATE = "victor"
"""Does not answer the gold customer in time, so that a clock breaches."""
LEAD = "Mona (team lead)"
"""Acknowledges the escalation."""
