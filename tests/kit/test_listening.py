"""How answers leave a door: head and body in one piece, each answer in its turn, and none kept back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kit.doors.listening import _Whole


class Wire(asyncio.Transport):
    """Remembers what is written, piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def write(self, data: Any) -> None:
        self.pieces.append(bytes(data))

    def close(self) -> None:
        self.pieces.append(b"<closed>")

    def is_closing(self) -> bool:
        return b"<closed>" in self.pieces


HEAD, BODY = b"HTTP/1.1 202 Accepted\r\ncontent-length: 4\r\n\r\n", b"body"


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ([HEAD, BODY], [HEAD + BODY]),
        ([HEAD, b""], [HEAD]),
        ([HEAD, b"a", b"b"], [HEAD + b"a", b"b"]),
        ([HEAD, BODY, HEAD, BODY], [HEAD + BODY, HEAD + BODY]),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", HEAD, BODY], [b"HTTP/1.1 100 Continue\r\n\r\n", HEAD + BODY]),
    ],
)
def test_a_head_leaves_with_its_body(written: list[bytes], left: list[bytes]) -> None:
    wire = Wire()
    whole = _Whole(wire)
    for piece in written:
        whole.write(piece)
    assert wire.pieces == left


def test_a_head_without_body_leaves_when_the_answer_is_complete() -> None:
    wire = Wire()
    whole = _Whole(wire)
    whole.write(HEAD)
    assert wire.pieces == []
    whole.flush()
    whole.flush()
    assert wire.pieces == [HEAD]


def test_nothing_is_kept_back_when_the_connection_is_closed() -> None:
    wire = Wire()
    whole = _Whole(wire)
    whole.write(HEAD)
    whole.close()
    assert wire.pieces == [HEAD, b"<closed>"]
    assert whole.is_closing()
