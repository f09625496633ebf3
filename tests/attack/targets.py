"""Fuzz targets: every parser that reads what strangers, providers, other systems or operators write.

A target takes bytes and returns; it may raise nothing. What a parser declares (ValueError, Unreadable, Forged …) is
caught here, and nothing else. Replayed by test_corpus.py, driven by fuzz.py under atheris.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel

from contracts.corpus import examples
from contracts.dlq import DeadLetter
from contracts.envelope import Command, Event
from contracts.inbound import InboundRecord
from kit import http_client
from kit.base.errors import InvalidPolicy
from kit.http_client import Forbidden, HttpClient
from kit.policy.file import parse
from services.ingest.channels import MAILS, WEBHOOKS, address_token, headers, mime, reports
from services.ingest.channels.channel import Request
from services.ingest.channels.html import html_to_text, html_with_quotes_marked
from services.ingest.channels.quoting import newest
from services.ingest.channels.reading import clean, line
from services.ingest.policy_file import AccountsFile
from services.notify.core import text as notify_text
from services.notify.policy_file import NotifyFile
from services.notify.sinks.outbound import retry_after
from services.routing.core import policy as routing
from services.sla.core import policy as sla
from tests.ingest.channels import samples as s
from tests.ingest.channels import surviving
from tests.ingest.channels.cases import CASES, Case

Target = Callable[[bytes], object]
_OUTWARD = HttpClient(lambda: {"127.0.0.1"}, agent="test")
CORPUS = Path(__file__).parent / "corpus"
MAX_INPUT = 256 * 1024


def _event(data: bytes) -> None:
    try:
        event = Event.parse(data)
    except ValueError:
        with contextlib.suppress(ValueError):
            Event.envelope_only(data)
        return
    assert Event.parse(event.encode()).id == event.id


def _command(data: bytes) -> None:
    try:
        command = Command.parse(data)
    except ValueError:
        return
    assert Command.parse(command.encode()).id == command.id


def _headers(data: bytes) -> tuple[bytes, list[tuple[str, bytes | None]]]:
    """`name value` lines up to an empty one, then the body; a name alone has no value, as Kafka allows."""
    head, _, body = data.partition(b"\n\n")
    found: list[tuple[str, bytes | None]] = []
    for row in head.split(b"\n")[:200]:
        name, space, value = row.partition(b" ")
        found.append((name.decode("utf-8", "replace"), value if space else None))
    return body, found


def _inbound(data: bytes) -> None:
    body, headers = _headers(data)
    try:
        record = InboundRecord.from_kafka(body, headers)
    except ValueError:
        return
    record.to_headers()


def _dead_letter(data: bytes) -> None:
    body, headers = _headers(data)
    try:
        letter = DeadLetter.from_kafka(None, body, headers)
    except ValueError:
        return
    letter.to_headers()


def _webhook(case: Case) -> Target:
    channel = WEBHOOKS[case.name]

    def target(data: bytes) -> None:
        surviving.parsed(case, data)
        body, pairs = _headers(data)
        headers: Mapping[str, str] = {name.lower(): (raw or b"").decode("latin-1") for name, raw in pairs}
        for given in (Request(data), Request(body, headers, headers, data[:200].decode("latin-1"))):
            surviving.met(case, given)
        status = data[0] * 3 if data else 0
        channel.outcome(status, headers, body)

    return target


def _other(case: Case) -> Target:
    """What comes in as a mail, or is fetched."""

    def target(data: bytes) -> None:
        surviving.parsed(case, data)
        if case.name in MAILS:
            MAILS[case.name](data)

    return target


def _mime(data: bytes) -> None:
    root = mime.read(data)
    for node in root.leaves():
        node.text()
        node.named(1)
    reports.read(root, "", "a", s.NOW)
    reports.automated_because(root.headers, None)
    headers.addresses([data.decode("utf-8", "surrogateescape")])
    headers.decoded_words(data.decode("ascii", "surrogateescape"))


def _html(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    html_to_text(text, 10_000).encode()
    html_with_quotes_marked(text, 10_000).encode()


def _quoting(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert newest(cleaned) in cleaned
    line(text)


def _token(data: bytes) -> None:
    addresses = data.decode("utf-8", "replace").split("\n")
    assert address_token.ticket_in(addresses, ["some key"]) is None, "a token that nobody made"
    for address in addresses[:5]:
        address_token.mint(address, address[:50], "some key")


def _policy(data: bytes) -> None:
    kinds: tuple[type[BaseModel], ...] = (AccountsFile, routing.RoutingPolicy, sla.Book, NotifyFile)
    words = (b"accounts:", b"queues:", b"policies:", b"receivers:")
    wanted = [kind for kind, word in zip(kinds, words, strict=True) if word in data] or [kinds[len(data) % 4]]
    for model in wanted:
        try:
            parse("p.yaml", data, model)
        except InvalidPolicy as fault:
            if fault.line < 1:
                raise AssertionError("a fault without a line") from fault


def _guard(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    http_client.is_public(text)
    http_client.is_allowed(text, 443, {"hooks.example"})
    with contextlib.suppress(Forbidden):
        _OUTWARD._look_at(text)
    retry_after({"retry-after": text}, s.NOW)


def _template(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        notify_text.check(text)
    shown = notify_text.render(text, dict.fromkeys(notify_text.FACTS, text))
    assert len(shown) <= notify_text.MAX_TEXT
    assert "\n" not in notify_text.one_line(text, 100)


TARGETS: dict[str, Target] = {
    "event": _event, "command": _command, "inbound": _inbound, "dead_letter": _dead_letter,
    **{name: _webhook(case) if name in WEBHOOKS else _other(case) for name, case in CASES.items()},
    "mime": _mime, "html": _html, "quoting": _quoting, "token": _token,
    "policy": _policy, "guard": _guard, "template": _template,
}  # fmt: skip

_MAIL = (
    b'From: "Jan" <jan@b.pl>\r\nTo: support@nimbus.example\r\nSubject: =?utf-8?B?xYE=?= [#0190163d-8694]\r\n'
    b"Message-ID: <1@b.pl>\r\nReferences: <0@b.pl>\r\nDate: Sat, 21 Nov 2026 09:00:00 +0100\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html; charset=iso-8859-2\r\n\r\n"
    b"<p>hi</p><blockquote>old</blockquote>\r\n--b\r\nContent-Type: text/plain; name=a.txt\r\n"
    b"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment\r\n\r\naGk=\r\n--b--\r\n"
)
_REPORT = (
    b"From: <>\r\nReturn-Path: <>\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\n"
    b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\nFinal-Recipient: rfc822; a@b.pl\r\n"
    b"Action: failed\r\nStatus: 5.1.1\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: <2@x>\r\n\r\n"
    b"--b--\r\n"
)

_LETTER = (
    b"deskbus_dlq_service a\ndeskbus_dlq_handler b\ndeskbus_dlq_error_type c\ndeskbus_dlq_error d\n"
    b"deskbus_dlq_at 2026-11-21T00:00:00Z\ndeskbus_dlq_topic t\ndeskbus_dlq_partition 0\n"
    b"deskbus_dlq_offset 0\ndeskbus_dlq_attempts 1\nx y\n\nbody"
)


def seeds(name: str) -> Iterator[bytes]:
    """What a target begins with: right inputs, and whatever was once found."""
    config = Path(__file__).parents[2] / "deploy" / "config"
    json_policy = [path.read_bytes() for path in sorted(config.glob("*.yaml"))]
    inbound = [_joined(value, headers) for value, headers in _inbound_records()]
    known: dict[str, list[bytes]] = {
        "event": [example.value for example in examples() if example.type.count("command") == 0],
        "command": [example.value for example in examples() if "command" in example.type],
        "inbound": inbound,
        "dead_letter": [_LETTER],
        **{name: [*case.read, *case.unreadable] for name, case in CASES.items()},
        "mime": [_MAIL, _REPORT],
        "html": [b"<p>a<br>b</p><blockquote>c</blockquote><style>x</style><!-- d --><a href='x'>&amp;&#x41;</a>"],
        "quoting": [b"new\r\n\r\nOn Mon, Jan wrote:\r\n> old\r\n-- \r\nJan", "ใหม่\n> เก่า".encode()],
        "token": [b"support+" + b"a" * 26 + b"." + b"b" * 16 + b"@nimbus.example", b"a@b"],
        "policy": json_policy,
        "guard": [b"https://hooks.example:443/x", b"::ffff:127.0.0.1", b"2130706433", b"Sat, 21 Nov 2026 09:00:00 GMT"],
        "template": [b"[$what] ${summary} $$ {{7*7}} %s {0.__class__}"],
    }  # fmt: skip
    yield from known[name]
    yield from (_MAIL, _REPORT) if name in MAILS else ()
    yield from (path.read_bytes() for path in sorted((CORPUS / name).glob("*")))


def _inbound_records() -> Iterator[tuple[bytes, list[tuple[str, bytes]]]]:
    for case in CASES.values():
        yield case.message, case.record(case.message).to_headers()


def _joined(body: bytes, headers: list[tuple[str, bytes]]) -> bytes:
    return b"\n".join(name.encode() + b" " + value for name, value in headers) + b"\n\n" + body
