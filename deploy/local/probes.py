"""Readiness probes in the servers' own protocols, as an open port proves little. No client library, no retries."""

import socket
import struct

_KAFKA_API_VERSIONS = 18
_MONGO_OP_MSG = 2013


def kafka_answers(host: str, port: int, timeout: float = 2.0) -> bool:
    """Return whether the broker answers an ApiVersions request, as it does once it has joined its cluster."""
    client = b"deskbus-local"
    request = struct.pack(">hhih", _KAFKA_API_VERSIONS, 0, 1, len(client)) + client
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            head = _read(connection, 10)
    except OSError:
        return False
    _, correlation, error = struct.unpack(">iih", head)
    return bool(correlation == 1 and error == 0)


def mongo_answers(host: str, port: int, timeout: float = 2.0) -> bool:
    """Return whether the server answers a hello command and accepts writes."""
    elements = b"\x10hello\x00" + struct.pack("<i", 1) + b"\x02$db\x00" + struct.pack("<i", 6) + b"admin\x00"
    document = struct.pack("<i", len(elements) + 5) + elements + b"\x00"
    body = struct.pack("<i", 0) + b"\x00" + document
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.sendall(struct.pack("<iiii", 16 + len(body), 1, 0, _MONGO_OP_MSG) + body)
            size = struct.unpack("<i", _read(connection, 4))[0]
            answer = _read(connection, size - 4)
    except OSError:
        return False
    return b"\x08isWritablePrimary\x00\x01" in answer


def listens(host: str, port: int, timeout: float = 2.0) -> bool:
    """Return whether anything listens there, which may speak TLS."""
    try:
        with socket.create_connection((host, port), timeout):
            return True
    except OSError:
        return False


def _read(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise ConnectionError("closed early")
        received += part
    return received
