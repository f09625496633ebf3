"""The proxy does to connections what it says, or a campaign would prove nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from deploy.local import free_port
from tests.crash.proxy import Proxy
from tests.system.rig import until

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    port = free_port()
    async with await asyncio.start_server(_echo, "127.0.0.1", port):
        with Proxy(free_port(), port) as made:
            yield made


async def _open(proxy: Proxy) -> Line:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def _say(line: Line, data: bytes) -> float:
    """Send it, and return the seconds until it is back."""
    begin = asyncio.get_running_loop().time()
    line[1].write(data)
    assert await line[0].readexactly(len(data)) == data
    return asyncio.get_running_loop().time() - begin


async def test_it_carries_both_ways(proxy: Proxy) -> None:
    line = await _open(proxy)
    await _say(line, b"x" * 200_000)
    line[1].close()


async def test_a_cut_breaks_what_is_open_and_refuses_what_comes(proxy: Proxy) -> None:
    line = await _open(proxy)
    await _say(line, b"before")
    proxy.cut()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await _say(line, b"during")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await _say(await _open(proxy), b"during")
    proxy.mend()
    await _say(await _open(proxy), b"after")


async def test_a_stall_holds_everything_until_it_is_mended(proxy: Proxy) -> None:
    line = await _open(proxy)
    await _say(line, b"before")
    proxy.stall()
    waiting = asyncio.create_task(_say(line, b"during"))
    done, _ = await asyncio.wait({waiting}, timeout=0.3)
    assert not done
    proxy.mend()
    assert await waiting >= 0.3


async def test_a_delay_and_a_throttle_take_their_time(proxy: Proxy) -> None:
    line = await _open(proxy)
    proxy.delay(0.1)
    assert await _say(line, b"slow") >= 0.2
    proxy.mend()
    await _say(line, b"quick")
    proxy.throttle(20_000)
    assert await _say(line, b"y" * 6_000) >= 0.3


async def test_what_was_held_back_for_someone_who_has_gone_is_dropped_in_silence(proxy: Proxy) -> None:
    faults: list[object] = []
    proxy.loop.set_exception_handler(lambda _, context: faults.append(context))
    line = await _open(proxy)
    await _say(line, b"before")

    async def held() -> bool:
        return any(end._pending for end in list(proxy.ends))

    proxy.delay(0.3)
    line[1].write(b"late")
    await until(held, 5, "the proxy holds data back")
    proxy.cut()
    due = asyncio.run_coroutine_threadsafe(asyncio.sleep(0.4), proxy.loop)
    await asyncio.wrap_future(due)
    assert faults == []
