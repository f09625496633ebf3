"""Routing's decision by itself: who gets a ticket, among many agents with many skills. In process, no IO."""

from __future__ import annotations

from random import Random
from time import perf_counter_ns

from contracts.agents import Agent
from kit.base.clock import SystemClock
from kit.policy.file import parse
from services.routing.core import agents
from services.routing.core.agents import AgentState
from services.routing.core.need import Need
from services.routing.core.policy import RoutingPolicy
from services.routing.core.pool import Pool
from tests.bench.load import percentile

POLICY = b"""
channel_weights: {email: 1, whatsapp: 2}
queues:
  all: {required: {}}
rules:
  - {queue: all}
"""
LANGUAGES = ("th", "pl", "ko", "en", "de", "fr", "it", "es", "ja", "vi")


def measure(agent_count: int = 10_000, skill_count: int = 200, decisions: int = 5_000) -> dict[str, float]:
    """Microseconds of a choice, and of a choice with the claim that follows it."""
    random, clock = Random(1), SystemClock()
    policy = parse("routing.yaml", POLICY, RoutingPolicy)
    skills = [f"skill-{n}" for n in range(skill_count)]
    pool = Pool(policy, [_agent(n, random, skills) for n in range(agent_count)])
    needs = [_need(n, random, skills) for n in range(decisions)]
    pool.choose(needs[0])  # builds the index
    chosen, whole, nobody = [], [], 0
    for need in needs:
        begin = perf_counter_ns()
        agent = pool.choose(need)
        chosen.append((perf_counter_ns() - begin) / 1000)
        if agent is None:
            nobody += 1
            continue
        pool.put(agents.claim(agent, need.ticket, 1, 1.0, clock.now()))
        whole.append((perf_counter_ns() - begin) / 1000)
    chosen.sort()
    whole.sort()
    return {
        "agents": agent_count,
        "skills": skill_count,
        "p50_us": percentile(chosen, 0.5),
        "p99_us": percentile(chosen, 0.99),
        "with_claim_p50_us": percentile(whole, 0.5),
        "with_claim_p99_us": percentile(whole, 0.99),
        "worst_us": whole[-1],
        "nobody": nobody,
    }


def _agent(number: int, random: Random, skills: list[str]) -> AgentState:
    return AgentState(
        Agent(
            id=f"a{number}",
            name=f"Agent {number}",
            capacity=random.choice((3, 5, 8)),
            skills={skill: random.randint(1, 5) for skill in random.sample(skills, random.randint(3, 12))},
            languages=tuple(random.sample(LANGUAGES, random.randint(1, 3))),
            presence="online" if random.random() < 0.8 else "offline",
        )
    )


def _need(number: int, random: Random, skills: list[str]) -> Need:
    required = [(f"lang-{random.choice(LANGUAGES)}", 2)]
    required += [(skill, random.randint(1, 3)) for skill in random.sample(skills, random.randint(0, 1))]
    preferred = tuple((skill, random.randint(1, 4)) for skill in random.sample(skills, random.randint(0, 2)))
    channel = random.choice(("email", "whatsapp"))
    return Need(f"t{number}", channel, "all", required=tuple(required), preferred=preferred)
