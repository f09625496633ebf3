"""A TCP proxy between the services and one server: it cuts, stalls, delays and throttles. It reads nothing.

It lives in a thread of its own, so that a busy test does not slow the connections down.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from types import TracebackType
from typing import Self

CHUNK = 64 * 1024


class Proxy:
    """One listening port before one port of a server on this machine."""

    def __init__(self, port: int, target: int) -> None:
        self.port, self._target = port, target
        self._open = True
        self._flowing = threading.Event()
        self._flowing.set()
        self._delay = 0.0
        self._rate = 0.0
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._run, name=f"proxy {port}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    # -- what can be done to it, from any thread ---------------------------------------------------------------------

    def cut(self) -> None:
        """Break all connections, in the middle of whatever they carry, and take no new ones."""
        self._open = False
        self._loop.call_soon_threadsafe(self._break_all)

    def stall(self) -> None:
        """Let nothing through; connections stay open and nobody is told."""
        self._flowing.clear()

    def delay(self, seconds: float) -> None:
        """Let everything wait before it goes on."""
        self._delay = seconds

    def throttle(self, bytes_a_second: float) -> None:
        """Let so much through a second, on each connection and way."""
        self._rate = bytes_a_second

    def mend(self) -> None:
        """Behave like a wire."""
        self._open, self._delay, self._rate = True, 0.0, 0.0
        self._flowing.set()

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self._up.set()
        self._loop.run_forever()
        server.close()
        self._break_all()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))

    def _break_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.transport.abort()
            return
        try:
            there_reader, there = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there}
        try:
            await asyncio.gather(self._pump(reader, there), self._pump(there_reader, writer))
        finally:
            self._writers -= {writer, there}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK if not self._rate else max(1, min(CHUNK, int(self._rate / 10)))):
                wait = self._delay + (len(data) / self._rate if self._rate else 0.0)
                if wait:
                    await asyncio.sleep(wait)
                while not self._flowing.is_set():  # noqa: ASYNC110 - set in another thread
                    await asyncio.sleep(0.02)
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.close()
