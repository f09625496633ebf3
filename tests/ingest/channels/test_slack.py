"""Slack: threads, shared channels, markup, and answers that are no success although their status is 200."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.contacts import Identity
from contracts.ticket import Attachment
from services.ingest.accounts import Accounts
from services.ingest.channels import slack
from services.ingest.channels.channel import Forged, Request
from services.ingest.core.messages import (
    Faulty,
    File,
    HttpCall,
    InboundMessage,
    Part,
    Sender,
    SendFailure,
    Sent,
    Unsendable,
    Upload,
)
from tests.ingest.channels import samples as s
from tests.ingest.channels.cases import CASES
from tests.ingest.channels.cases.slack import FILE, callback, message, shared, sign, signed

CASE = CASES["slack"]
THREAD = "C2147483705:1795253400.123456"
TOKEN = {"authorization": "Bearer xoxb-17653672481-19874698323"}


def parse(body: bytes, accounts: Accounts = CASE.accounts) -> list[Any]:
    return list(slack.parse(s.record(CASE.account, body), CASE.account, accounts, CASE.secrets))


def one(event: dict[str, Any]) -> InboundMessage:
    (found,) = parse(callback(event))
    assert isinstance(found, InboundMessage)
    return found


def render(text: str = "On its way", to: str = THREAD, **more: Any) -> dict[str, Any]:
    call = slack.render(s.reply(text, to=to, **more), CASE.account, CASE.secrets)
    assert (call.method, call.url) == ("POST", "https://slack.com/api/chat.postMessage")
    assert call.headers == {"content-type": "application/json; charset=utf-8", **TOKEN}
    found: dict[str, Any] = json.loads(call.body)
    return found


def test_a_message_is_read_field_by_field() -> None:
    assert one(message("a", user_profile={"real_name": "Ann Lee", "name": "ann"})) == InboundMessage(
        channel="slack",
        account="slack-partners",
        message_id=THREAD,
        sender=Sender(
            (Identity(channel="slack", account="slack-partners", id="U2147483697", verified=True),),
            name="Ann Lee",
            address=THREAD,
        ),
        conversation=THREAD,
        sent_at=datetime(2026, 11, 21, 9, 30, 0, 123_000, UTC),
        text="a",
    )


@pytest.mark.parametrize(
    ("more", "conversation", "answers"),
    [
        ({}, "C2147483705:1795253400.123456", None),
        ({"thread_ts": "1795253400.123456"}, "C2147483705:1795253400.123456", None),
        ({"thread_ts": "1795250000.000100"}, "C2147483705:1795250000.000100", "C2147483705:1795250000.000100"),
        ({"channel": "D1", "channel_type": "im"}, "D1", None),
        ({"channel": "D1", "channel_type": "im", "thread_ts": "1.2"}, "D1:1.2", "D1:1.2"),
    ],
)
def test_a_thread_is_a_conversation(more: dict[str, Any], conversation: str, answers: str | None) -> None:
    found = one(message("a", **more))
    assert (found.conversation, found.sender.address, found.in_reply_to) == (conversation, conversation, answers)
    assert slack.contact_key(Request(callback(message("a", **more)))) == conversation


def test_a_mention_and_the_message_itself_have_one_id() -> None:
    (mention,) = parse(callback({**message(), "type": "app_mention"}, event_id="Ev2"))
    assert mention.message_id == one(message()).message_id


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<@U1> and <@U2|ann>", "@U1 and @ann"),
        ("<#C1|orders>", "#orders"),
        ("<!here> <!subteam^S1|@team>", "@here @team"),
        ("<https://a.example/?a=1&amp;b=2>", "https://a.example/?a=1&b=2"),
        ("<https://a.example|the order>", "the order (https://a.example)"),
        ("1 &lt; 2 &amp;amp; 3", "1 < 2 &amp; 3"),
        ("no <markup", "no <markup"),
    ],
)
def test_markup_becomes_plain_text(text: str, shown: str) -> None:
    assert one(message(text)).text == shown


def test_colleagues_in_a_shared_channel_are_no_customers() -> None:
    assert parse(shared(message("I look into it"), user_team="T061EG9R6")) == []
    (found,) = parse(shared(message("Where is it?")))
    assert found.text == "Where is it?"


def test_in_an_organisation_colleagues_may_have_its_id() -> None:
    ours = [{"team_id": "T061EG9R6", "enterprise_id": "E1", "user_id": "U0LAN0Z89", "is_bot": True}]
    for team, count in (("E1", 0), ("E2", 1)):
        body = callback(message(user_team=team, team=team), is_ext_shared_channel=True, authorizations=ours)
        assert len(parse(body)) == len(slack.message_ids(body)) == count


def test_in_a_channel_of_our_own_every_user_is_a_customer() -> None:
    assert one(message(user_team="T061EG9R6")).text


@pytest.mark.parametrize("event", [{"bot_id": "B1"}, {"user": "U0LAN0Z89"}, {"user": "USLACKBOT"}, {"subtype": 7}])
def test_what_robots_write_is_silent(event: dict[str, Any]) -> None:
    assert parse(callback(message("hi", **event))) == []


def test_a_person_is_no_robot_although_the_field_is_there() -> None:
    """Older forms of `file_share` have it, as null."""
    body = callback(message("hi", subtype="file_share", bot_id=None, files=[FILE]))
    (found,) = parse(body)
    assert slack.message_ids(body) == [found.message_id]


def test_the_account_is_where_the_app_is_installed() -> None:
    """In a shared channel, `team_id` is the customer's workspace."""
    assert slack.account_id(Request(shared(message()))) == "T061EG9R6"
    padded = shared(message("x" * 70_000))
    assert slack.account_id(Request(padded)) == "T061EG9R6"
    assert slack.account_id(Request(callback(message(), authorizations=[], context_team_id=None))) == "T061EG9R6"


def test_a_workspace_without_an_account_is_foreign() -> None:
    elsewhere = callback(message(), authorizations=[{"team_id": "T9"}])
    assert parse(elsewhere) == [Faulty("team T9 is no account of this app", foreign=True)]
    two = CASE.accounts.model_copy(
        update={"accounts": (CASE.account, CASE.account.model_copy(update={"name": "second", "external_id": "T9"}))}
    )
    (found,) = parse(elsewhere, Accounts.model_validate(two.model_dump()))
    assert found.account == "second"


@pytest.mark.parametrize("lacking", [{"channel": None}, {"user": None}, {"ts": None}])
def test_a_message_without_channel_user_or_ts_is_faulty(lacking: dict[str, Any]) -> None:
    assert parse(callback(message("a", **lacking))) == [Faulty("a message without channel, user or ts")]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({}, Part("damage.jpg", "image/jpeg", ref=FILE["url_private_download"], size=30253)),
        ({"url_private_download": None}, Part("damage.jpg", "image/jpeg", ref=FILE["url_private"], size=30253)),
        ({"mode": "tombstone"}, None),
        ({"mode": ["tombstone"]}, Part("damage.jpg", "image/jpeg", ref=FILE["url_private_download"], size=30253)),
        ({"id": None, "url_private": None, "url_private_download": None}, None),
    ],
)
def test_a_file_is_known_by_its_url(change: dict[str, Any], part: Part | None) -> None:
    assert one(message("", subtype="file_share", files=[{**FILE, **change}])).parts == ((part,) if part else ())


def test_a_forwarded_message_shows_what_it_forwards() -> None:
    share = {"is_share": True, "author_name": "Bo", "text": "Where is <#C1|orders>?", "fallback": "x", "files": [FILE]}
    preview = {"title": "GitHub", "text": "Build software"}
    forwarded = one(message("", attachments=[share, preview, {"is_share": True, "fallback": "[July 8] Bo: Hi"}]))
    assert forwarded.text == "[forwarded] Where is #orders?\n[forwarded] [July 8] Bo: Hi"
    assert [part.name for part in forwarded.parts] == ["damage.jpg"]
    assert one(message("See this", attachments=[share])).text == "See this\n[forwarded] Where is #orders?"


def test_a_message_without_anything_to_read_says_so() -> None:
    assert one(message("", attachments=[{"title": "GitHub"}])).text == "[unsupported]"
    assert one(message("", files=[FILE])).text == ""


def test_a_file_of_another_company_is_known_by_its_id() -> None:
    (part,) = one(message("", files=[{"id": "F1", "file_access": "check_file_info"}])).parts
    assert part == Part("file", "application/octet-stream", ref="F1")


def test_the_token_goes_to_slacks_host_only() -> None:
    def fetched(url: str) -> Any:
        return slack.original(Attachment(name="a", media_type="b", ref="r", url=url), CASE.account, CASE.secrets)

    assert fetched("https://files.slack.com/a").headers == TOKEN
    for url in ("https://files.slack.com.evil.example/a", "https://drive.example/a", "http://files.slack.com/a"):
        assert fetched(url).headers == {}


def test_a_file_by_id_is_fetched_in_two_steps() -> None:
    file = Attachment(name="a", media_type="b", ref="r", media_id="F1/x")
    wanted = slack.original(file, CASE.account, CASE.secrets)
    assert isinstance(wanted, Upload)
    assert wanted.call == HttpCall("GET", "https://slack.com/api/files.info?file=F1%2Fx", TOKEN, b"")
    url = FILE["url_private_download"]
    assert wanted.then(200, s.encode({"ok": True, "file": FILE})) == HttpCall("GET", str(url), TOKEN, b"")
    away = wanted.then(200, b'{"ok":true,"file":{"url_private":"https://drive.example/a"}}')
    assert away == HttpCall("GET", "https://drive.example/a", {}, b"")
    for answer, permanent in ((b'{"ok":false,"error":"file_not_found"}', True), (b"no", False)):
        failed = wanted.then(200, answer)
        assert isinstance(failed, SendFailure)
        assert failed.permanent is permanent


def test_the_url_is_verified_by_its_challenge() -> None:
    body = b'{"token":"x","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}'
    answer = slack.challenge(sign(body, s.NOW), CASE.account, CASE.secrets)
    assert answer is not None
    assert json.loads(answer.body) == {"challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}
    for other in (CASE.message, b'{"type":"url_verification"}', b'{"challenge":"x"}', b"[]"):
        assert slack.challenge(Request(other), CASE.account, CASE.secrets) is None


def test_slacks_own_example_of_a_signature_is_right() -> None:
    """From "Verifying requests from Slack", which slack_sdk's verifier accepts as well."""
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = {
        "x-slack-request-timestamp": "1531420618",
        "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    }
    slack.verify(Request(body, headers), CASE.account, CASE.secrets, datetime.fromtimestamp(1531420618, UTC))


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "missing"),
        ({"x-slack-signature": "v1=00"}, "missing"),
        ({"x-slack-signature": "v0=zz"}, "missing"),
        ({"x-slack-request-timestamp": "1e9"}, "missing"),
        ({"x-slack-request-timestamp": "1795253401"}, "signature"),
        (signed(b"{}", "1795253099"), "stale"),
        (signed(b"{}", "1795253701"), "stale"),
        (signed(b"{}", "1795253400", "another"), "signature"),
    ],
)
def test_a_request_that_is_not_signed_now_is_refused(headers: dict[str, str], reason: str) -> None:
    given = {**(signed(b"{}", "1795253400") if headers else {}), **headers}
    with pytest.raises(Forged, match=f"^{reason}$"):
        slack.verify(Request(b"{}", given), CASE.account, CASE.secrets, s.NOW)


def test_a_reply_goes_to_the_thread_without_markup() -> None:
    assert render("<!channel> 1 & 2 > 0") == {
        "channel": "C2147483705",
        "thread_ts": "1795253400.123456",
        "text": "&lt;!channel&gt; 1 &amp; 2 &gt; 0",
        "unfurl_links": False,
        "unfurl_media": False,
    }
    assert "thread_ts" not in render(to="D024BE91L")


def test_files_are_linked() -> None:
    sent = render("See", files=(File("a|<b>.pdf", "application/pdf", url="https://cdn.example/a?b&c"),))
    assert sent["text"] == "See\n<https://cdn.example/a?b&amp;c|a &lt;b&gt;.pdf>"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"to": ""}, "needs a channel"),
        ({"to": "not a channel"}, "needs a channel"),
        ({"text": " "}, "needs a channel"),
        ({"text": "&" * 8001}, "at most 40000"),
        ({"files": (File("a", "b", b"c"),)}, "https URL only"),
    ],
)
def test_what_slack_does_not_take_is_not_sent(more: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unsendable, match=reason):
        render(**more)
    assert len(render("&" * 8000)["text"]) == 40_000


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"ok":true,"channel":"C1","ts":"1.2"}', Sent("C1:1.2")),
        (200, b'{"ok":true}', Sent(None)),
        (200, b'{"ok":false,"error":"channel_not_found"}', SendFailure("Slack: channel_not_found", True)),
        (200, b'{"ok":false,"error":"not_in_channel"}', SendFailure("Slack: not_in_channel", False)),
        (200, b'{"ok":false,"error":"internal_error"}', SendFailure("Slack: internal_error", False, unsure=True)),
        (200, b"<html>", SendFailure("Slack: an answer without ok", False, unsure=True)),
        (429, b"", SendFailure("HTTP 429: no reason given", False, 30.0)),
    ],
)
def test_an_answer_is_a_success_only_if_it_says_ok(status: int, body: bytes, expected: Any) -> None:
    assert slack.outcome(status, {"retry-after": "30"} if status == 429 else {}, body) == expected
