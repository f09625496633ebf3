"""A TCP proxy in front of a server that can cut, stall, delay and throttle connections. It does not parse the data.

It runs in its own thread, so that a busy test does not slow down the connections.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from types import TracebackType
from typing import Self, cast

import uvloop

#: Maximum bytes buffered per direction before reading pauses.
PENDING = 64 * 1024


class Proxy:
    """One listening port in front of a port of a local server."""

    def __init__(self, port: int, target: int) -> None:
        self.port, self.target = port, target
        self.open = self.flowing = True
        self.delayed = 0.0
        self.rate = 0.0
        self.ends: set[End] = set()
        self.loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"proxy {port}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)

    # -- faults; may be called from any thread -----------------------------------------------------------------------

    def cut(self) -> None:
        """Abort all connections, and accept no new ones."""
        self.open = False
        self.loop.call_soon_threadsafe(self._break_all)

    def stall(self) -> None:
        """Forward nothing; connections stay open."""
        self.flowing = False

    def delay(self, seconds: float) -> None:
        """Delay all data by `seconds`."""
        self.delayed = seconds

    def throttle(self, bytes_a_second: float) -> None:
        """Limit each connection, in each direction, to this rate."""
        self.rate = bytes_a_second

    def mend(self) -> None:
        """Undo all faults, and forward delayed data at once."""
        self.open, self.delayed, self.rate, self.flowing = True, 0.0, 0.0, True
        self.loop.call_soon_threadsafe(self._go_on)

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(self.loop.create_server(lambda: End(self), "127.0.0.1", self.port))
        self._up.set()
        self.loop.run_forever()
        server.close()
        self._break_all()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))

    def _break_all(self) -> None:
        for end in list(self.ends):
            end.transport.abort()

    def _go_on(self) -> None:
        for end in list(self.ends):
            end.hurry()


class End(asyncio.Protocol):
    """One end of a connection: data received here is written to the peer, in order, when it is due."""

    transport: asyncio.Transport

    def __init__(self, proxy: Proxy, peer: End | None = None) -> None:
        self._proxy, self._peer = proxy, peer
        self._pending: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._taking, self._reading, self._over = True, True, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if not self._proxy.open:
            self.transport.abort()
            return
        self._proxy.ends.add(self)
        if self._peer is None:
            self._connecting = asyncio.ensure_future(self._connect())
        else:
            self._peer.meet(self)

    async def _connect(self) -> None:
        try:
            await self._proxy.loop.create_connection(lambda: End(self._proxy, self), "127.0.0.1", self._proxy.target)
        except OSError:
            self.transport.abort()

    def meet(self, peer: End) -> None:
        """Set the other end, which is connected now."""
        self._peer = peer
        self.pump()

    def data_received(self, data: bytes) -> None:
        proxy, now = self._proxy, self._proxy.loop.time()
        step = max(1, int(proxy.rate / 10)) if proxy.rate else len(data)
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            self._last = max(now + proxy.delayed, self._last) + (len(piece) / proxy.rate if proxy.rate else 0.0)
            self._pending.append((self._last, piece))
            self._bytes += len(piece)
        self.pump()

    def pump(self) -> None:
        """Forward what is due, and pause or resume reading depending on what remains."""
        peer, loop = self._peer, self._proxy.loop
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if peer is not None and peer.transport.is_closing():
            self._pending.clear()  # nobody is left to read it, and uvloop raises
            self._bytes = 0
        while peer is not None and self._pending and self._proxy.flowing and peer._taking:
            due, piece = self._pending[0]
            if due > loop.time():
                self._timer = loop.call_at(due, self.pump)
                break
            self._pending.popleft()
            self._bytes -= len(piece)
            peer.transport.write(piece)
        if self._over and not self._pending and peer is not None:
            peer.transport.close()
        self._read_or_rest()

    def hurry(self) -> None:
        """Forward all buffered data at once."""
        self._last = 0.0
        self._pending = deque((0.0, piece) for _, piece in self._pending)
        self.pump()

    def _read_or_rest(self) -> None:
        room = self._bytes < PENDING
        if room != self._reading and not self.transport.is_closing():
            self._reading = room
            (self.transport.resume_reading if room else self.transport.pause_reading)()

    def pause_writing(self) -> None:
        self._taking = False

    def resume_writing(self) -> None:
        self._taking = True
        if self._peer is not None:
            self._peer.pump()

    def connection_lost(self, exc: Exception | None) -> None:
        self._proxy.ends.discard(self)
        self._over = True
        if exc is not None:
            self._pending.clear()
        self.pump()
