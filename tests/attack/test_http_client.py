"""What leaves: mails, requests and texts into which strangers have written. None steers where it goes or what it is."""

from __future__ import annotations

import asyncio
from email import message_from_bytes

import pytest

from contracts.commands import AddNote
from contracts.tickets import CommandRejected
from kit.http_client import Forbidden, HttpClient, Unreached, is_public
from services.ingest.channels import email as mail
from services.ingest.core.messages import MailOut, Unsendable
from services.notify.core import text
from services.notify.sinks.outbound import retry_after
from tests.attack.targets import CORPUS
from tests.ingest.channels import samples as s
from tests.ingest.worker_rig import AGENT, Worker

INJECTIONS = [
    "x\r\nBcc: all@b.pl",
    "x\nBcc: all@b.pl",
    "x\rBcc: all@b.pl",
    "x\u2028Bcc: all@b.pl",
    "x\0\r\n\r\nbody",
    "x\x85Bcc: a",
]


@pytest.mark.parametrize("said", INJECTIONS)
def test_no_text_begins_a_header_of_our_mail(said: str) -> None:
    reply = s.reply(
        to="jan@b.pl", to_name=said, subject=said, author_name=said, message_id=said, in_reply_to=f"<{said}@x>",
        references=(said, f"<{said}>"),
    )  # fmt: skip
    out = mail.render(reply, s.NIMBUS, s.SECRETS)
    assert isinstance(out, MailOut)
    headers = message_from_bytes(out.data)
    assert {name.lower() for name in headers.keys()} <= {  # noqa: SIM118 - a Message is no dict
        "from", "reply-to", "to", "subject", "date", "message-id", "in-reply-to", "references", "mime-version",
        "content-type", "content-transfer-encoding",
    }  # fmt: skip
    assert out.recipients == ("jan@b.pl",)


@pytest.mark.parametrize("to", ["a@b.pl\r\nRCPT TO:<c@d.pl>", "a@b.pl, c@d.pl", "<a@b.pl>", "a@b.pl\0", "é@b.pl", ""])
def test_no_address_names_another_recipient(to: str) -> None:
    with pytest.raises(Unsendable):
        mail.render(s.reply(to=to), s.NIMBUS, s.SECRETS)


@pytest.mark.parametrize("said", ["{{7*7}}", "${what}", "$what", "%(what)s", "{0.__class__.__mro__}", "#{7*7}", "$$"])
def test_what_a_customer_wrote_is_no_template(said: str) -> None:
    shown = text.render("[$what] $summary", {"what": "firing", "summary": text.one_line(said, 100)})
    assert shown == f"[firing] {said}"


class Elsewhere:
    """Answers every request with a redirect, and counts those that follow it."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 307 X\r\nlocation: /metadata\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()


async def test_a_redirect_is_not_followed() -> None:
    other = Elsewhere()
    async with await asyncio.start_server(other.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        http_client = HttpClient(lambda: {"127.0.0.1"}, agent="test", seconds=2)
        answer = await http_client.call("POST", f"http://127.0.0.1:{port}/", {}, b"{}")
        await http_client.close()
    assert answer.status == 307
    assert len(other.asked) == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::ffff:10.0.0.1", "169.254.169.254", "fd00::1"])
@pytest.mark.parametrize("host", ["hooks.example", "hooks.example.", "HOOKS.example"])
async def test_a_name_that_leads_inside_is_not_called_however_it_is_written(host: str, address: str) -> None:
    async def lookup(_: str, __: int) -> list[str]:
        return [address]

    http_client = HttpClient(set, agent="test", seconds=2, lookup=lookup)
    with pytest.raises(Forbidden):
        await http_client.call("POST", f"https://{host}/", {}, b"{}")
    await http_client.close()
    assert not is_public(address)


@pytest.mark.parametrize(
    "url", ["https://a\r\nX: y/", "https://a b/", "https://\ud800/", "https://xn--/", "https://%00/"]
)
async def test_what_is_no_host_goes_nowhere(url: str) -> None:
    http_client = HttpClient(set, agent="test", seconds=1)
    with pytest.raises((Forbidden, Unreached)):
        await http_client.call("POST", url, {}, b"{}")
    await http_client.close()


def test_a_receivers_date_beyond_every_calendar_is_no_fault() -> None:
    said = (CORPUS / "guard" / "date-beyond-the-calendar").read_text()
    assert retry_after({"retry-after": said}, s.NOW) is None


async def test_a_command_under_an_id_that_was_used_for_another_is_rejected_once() -> None:
    worker = Worker()
    await worker.take(worker.says("one", "m1"))
    ticket = worker.ticket().id
    first, other = (worker.asks(AddNote(by=AGENT, text=words), ticket, "c1") for words in ("first", "other"))
    for record in (first, first, other, other, first):
        await worker.take(record)
    notes = [e for e in worker.events() if e.type == "deskbus.note.added.v1"]
    refused = [e.data for e in worker.events() if e.type == CommandRejected.type]
    assert [note.data.text for note in notes] == ["first"]
    assert [(no.reason, no.command_id) for no in refused] == [("invalid", "c1")]
