"""Campaigns: a small one with every test run, ten full ones with `make crash`. SEED=… replays one of them."""

from __future__ import annotations

import dataclasses
import os
import secrets

import pytest

from tests.crash.campaign import Campaign
from tests.crash.schedule import FULL, SMALL

_TOLD = os.environ.get("SEED", "")
#: The small one is the same in every run, so that who changed nothing sees no other faults; `make crash` looks further.
SMALL_SEED = int(_TOLD or 2026)
SEEDS = [int(_TOLD)] if _TOLD else [secrets.randbelow(1_000_000) for _ in range(10)]
MESSAGES = int(os.environ.get("MESSAGES") or FULL.messages)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_small_campaign_loses_and_doubles_nothing() -> None:
    outcome = await Campaign(SMALL_SEED, SMALL).run()
    print(outcome)
    assert not outcome.faults, f"\n{outcome}"


@pytest.mark.crash
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_campaign_loses_and_doubles_nothing(seed: int) -> None:
    outcome = await Campaign(seed, dataclasses.replace(FULL, messages=MESSAGES)).run()
    print(outcome)
    assert not outcome.faults, f"\n{outcome}"
