"""Campaigns: a small one with every test run, ten full ones with `make crash`. SEED=… replays one of them.

With BROKERS=3, `make crash` runs them on three brokers: one seed, unless told, with one and with two dying at once.
"""

from __future__ import annotations

import dataclasses
import os
import secrets

import pytest

from deploy.local.stack import BROKERS_VARIABLE
from tests.crash.campaign import Campaign
from tests.crash.schedule import FULL, ONE_OF_THREE, SMALL, TWO_OF_THREE

_TOLD = os.environ.get("SEED", "")
#: The small one is the same in every run, so that who changed nothing sees no other faults; `make crash` looks further.
SMALL_SEED = int(_TOLD or 2026)
THREE = os.environ.get(BROKERS_VARIABLE) == "3"
SEEDS = [int(_TOLD)] if _TOLD else [secrets.randbelow(1_000_000) for _ in range(1 if THREE else 10)]
SIZES = {"one of three": ONE_OF_THREE, "two of three": TWO_OF_THREE} if THREE else {"one broker": FULL}
_MESSAGES = int(os.environ.get("MESSAGES") or 0)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_small_campaign_loses_and_doubles_nothing() -> None:
    outcome = await Campaign(SMALL_SEED, SMALL).run()
    print(outcome)
    assert not outcome.faults, f"\n{outcome}"


@pytest.mark.crash
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("brokers", SIZES)
async def test_a_campaign_loses_and_doubles_nothing(brokers: str, seed: int) -> None:
    size = SIZES[brokers]
    outcome = await Campaign(seed, dataclasses.replace(size, messages=_MESSAGES or size.messages)).run()
    print(outcome)
    assert not outcome.faults, f"\n{outcome}"
