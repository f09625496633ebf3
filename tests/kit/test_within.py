"""A limit of time: it ends what waits, and never takes somebody else's cancellation for its own."""

import asyncio

import pytest

from kit.within import within


async def forever() -> None:
    await asyncio.Event().wait()


async def test_what_waits_too_long_is_ended() -> None:
    with pytest.raises(TimeoutError), within(0.01):
        await forever()


async def test_what_is_done_in_time_is_left_alone() -> None:
    task = asyncio.current_task()
    assert task is not None
    with within(0):
        pass
    for _ in range(3):
        await asyncio.sleep(0)  # its timer, due at once, would go off here
    assert task.cancelling() == 0


async def test_an_error_of_the_block_is_not_a_timeout() -> None:
    with pytest.raises(KeyError), within(10):
        raise KeyError


@pytest.mark.parametrize(("outer", "inner"), [(0.01, 10), (10, 0.01)])
async def test_of_two_limits_the_one_that_is_over_says_so(outer: float, inner: float) -> None:
    told = ""
    try:
        with within(outer):
            try:
                with within(inner):
                    await forever()
            except TimeoutError:
                told = "inner"
    except TimeoutError:
        told = "outer"
    assert told == ("outer" if outer < inner else "inner")


async def test_a_cancelled_task_stays_cancelled() -> None:
    async def bounded() -> None:
        with within(10):
            await forever()

    task = asyncio.create_task(bounded())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_is_cancelled_at_the_moment_the_time_is_over_is_cancelled() -> None:
    async def bounded() -> None:
        with within(0):
            await forever()

    task = asyncio.create_task(bounded())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_nests_with_asyncios_own() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            with within(10):
                await forever()
