"""A MongoDB server in memory is there while it is used, and nothing of it afterwards."""

from pathlib import Path

import pytest
from pymongo import MongoClient

from tests.bench import machine, names


async def test_nothing_is_left_of_a_server_in_memory(
    mongo: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DESKBUS_MONGO", mongo)
    monkeypatch.setattr(names, "OURS", f"deskbus-test-{tmp_path.name}-")
    try:
        with pytest.raises(ZeroDivisionError):  # a part that fails
            async with names.mongo_in_memory() as address:
                with MongoClient[dict[str, int]](address) as client:
                    client.a.b.insert_one({"n": 1})
                server = machine.listener(address)
                raise ZeroDivisionError
    except names.NotHere as missing:
        pytest.skip(str(missing))
    assert server is not None
    assert not server.is_running()
    assert not list(names.MEMORY.glob(f"{names.OURS}*"))
