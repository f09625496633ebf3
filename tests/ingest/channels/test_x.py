"""X: who wrote what where, the challenge that signs, and how long a post is."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import pytest

from contracts.contacts import Identity
from kit.policy.secrets import Secrets
from services.ingest.channels import x
from services.ingest.channels.channel import Forged, Grant, Request
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
)
from tests.ingest.channels import samples as s
from tests.ingest.channels.cases import CASES
from tests.ingest.channels.cases.x import PHOTO, US, USER, activity, direct, directs, mac, post, posts

CASE = CASES["x"]
FILE = File("a.pdf", "application/pdf", url="https://cdn.example/a.pdf")


def parse(body: bytes) -> list[Any]:
    return list(x.parse(s.record(CASE.account, body), CASE.account, CASE.accounts, CASE.secrets))


def one(body: bytes) -> InboundMessage:
    (found,) = parse(body)
    assert isinstance(found, InboundMessage)
    return found


def render(text: str = "On its way", to: str = USER, **more: Any) -> HttpCall:
    return x.render(s.reply(text, to=to, **more), CASE.account, CASE.secrets)


def expected(**more: Any) -> InboundMessage:
    who = (Identity(channel="x", account="x-nimbus", id=USER, verified=True),)
    sender = Sender(who, name="Ann Lee (@annlee)", address=more["conversation"])
    return InboundMessage(channel="x", account="x-nimbus", sender=sender, **more)


def test_a_direct_message_is_read_field_by_field() -> None:
    assert one(CASE.message) == expected(
        message_id="1062015437679050760",
        conversation=USER,
        sent_at=datetime(2026, 11, 21, 9, 30, 0, 123_000, UTC),
        text="Where is my order?",
    )


def test_a_mention_is_read_field_by_field() -> None:
    assert one(posts(post(in_reply_to_status_id_str="7"))) == expected(
        message_id="post:1063052318450909184",
        conversation=f"post:{USER}",
        sent_at=datetime(2026, 11, 21, 9, 30, tzinfo=UTC),
        text="@nimbus where is order 1182?",
        language="en",
        in_reply_to="post:7",
    )


def test_a_direct_message_and_a_post_of_one_person_are_two_conversations() -> None:
    assert x.contact_key(Request(CASE.message)) == USER
    assert x.contact_key(Request(posts(post()))) == f"post:{USER}"
    assert one(CASE.message).sender.identities == one(posts(post())).sender.identities


@pytest.mark.parametrize(
    ("more", "is_ours"),
    [
        ({}, True),
        ({"entities": {}}, False),
        ({"entities": {}, "in_reply_to_user_id_str": US}, True),
        ({"entities": {}, "extended_tweet": {"entities": {"user_mentions": [{"id_str": US}]}}}, True),
        ({"retweeted_status": {}}, False),
        ({"user": {"id_str": US}}, False),
    ],
)
def test_a_post_is_for_us_if_others_mention_or_answer_us(more: dict[str, Any], is_ours: bool) -> None:
    body = posts(post(**more))
    assert len(parse(body)) == len(x.message_ids(body)) == is_ours


@pytest.mark.parametrize("blocked", [True, "true"])
def test_posts_of_users_that_are_blocked_are_silent(blocked: Any) -> None:
    body = activity(user_has_blocked=blocked, tweet_create_events=[post()])
    assert parse(body) == []
    assert x.message_ids(body) == []


@pytest.mark.parametrize("said", [[True], {}, "false", 0])
def test_what_says_nothing_about_a_block_is_no_block(said: Any) -> None:
    assert len(parse(activity(user_has_blocked=said, tweet_create_events=[post()]))) == 1


def test_a_long_post_is_read_whole_and_its_links_too() -> None:
    entities = {
        "user_mentions": [{"id_str": US}],
        "urls": [{"url": "https://t.co/a", "expanded_url": "https://shop.example/1182"}],
    }
    whole = {"full_text": "@nimbus 1 &lt; 2 https://t.co/a &amp;amp;", "entities": entities}
    assert one(posts(post("@nimbus 1…", extended_tweet=whole))).text == "@nimbus 1 < 2 https://shop.example/1182 &amp;"


@pytest.mark.parametrize(("lang", "language"), [("ja", "ja"), ("und", None), ("qme", None), (None, None)])
def test_the_language_is_what_x_found(lang: str | None, language: str | None) -> None:
    assert one(posts(post(lang=lang))).language == language


VIDEO = {
    "type": "video",
    "media_url_https": "https://pbs.twimg.com/thumb.jpg",
    "video_info": {
        "variants": [
            {"content_type": "application/x-mpegURL", "url": "https://video.example/a.m3u8"},
            {"content_type": "video/mp4", "bitrate": 256000, "url": "https://video.example/low.mp4"},
            {"content_type": "video/mp4", "bitrate": 832000, "url": "https://video.example/high.mp4"},
        ]
    },
}


@pytest.mark.parametrize(
    ("media", "part"),
    [
        (PHOTO, Part("photo", "image/jpeg", ref="https://pbs.twimg.com/media/a.jpg")),
        (VIDEO, Part("video", "video/mp4", ref="https://video.example/high.mp4")),
        ({"type": "video"}, None),
        ({}, None),
    ],
)
def test_media_are_files_by_their_url(media: dict[str, Any], part: Part | None) -> None:
    parts = (part,) if part else ()
    assert one(directs(direct(attachment={"type": "media", "media": media}))).parts == parts
    assert one(posts(post(extended_entities={"media": [media]}))).parts == parts


def test_an_attachment_of_another_kind_shows_what_it_is() -> None:
    assert one(directs(direct(attachment={"type": "location"}))).text == "[location]"


@pytest.mark.parametrize("time", [None, 7, "yesterday", "Sat Nov 21 09:30:00 2026"])
def test_a_post_without_a_time_is_of_the_time_of_its_record(time: Any) -> None:
    assert one(posts(post(created_at=time))).sent_at == s.NOW


def test_an_activity_that_lacks_what_it_needs_is_faulty() -> None:
    assert parse(directs(direct(number=""))) == [Faulty("a direct message without id or sender")]
    assert parse(posts(post(user={}))) == [Faulty("a post without id or author")]


def test_the_fixtures_of_twitter_autohook_are_right() -> None:
    secrets = Secrets({**CASE.environ, "DESKBUS_SECRET_X": "test"})
    for body, signature in (
        (b"test=1&other_test=2", "25Cu3iwbbiqBTwQRzcKJZwisjf736V2Q8UaTlkfLSoc="),
        (b'{"test_number":1,"test_string":"two"}', "YWHphPn/JFq43jkF0y4/w8R/SelmLjvpunhVFY8JhlI="),
    ):
        given = Request(body, {"x-twitter-webhooks-signature": f"sha256={signature}"})
        x.verify(given, CASE.account, secrets, s.NOW)


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        (None, "missing"),
        ("sha1=AAAA", "missing"),
        ("sha256=*", "missing"),
        (mac(b"[]"), "signature"),
        (mac(b"{}", "a"), "signature"),
    ],
)
def test_what_is_not_signed_is_refused(signature: str | None, reason: str) -> None:
    headers = {} if signature is None else {"x-twitter-webhooks-signature": signature}
    with pytest.raises(Forged, match=f"^{reason}$"):
        x.verify(Request(b"{}", headers), CASE.account, CASE.secrets, s.NOW)


def test_the_challenge_is_answered_with_the_hmac_of_its_token() -> None:
    answer = x.challenge(Request(b"", {}, {"crc_token": "MTYxNDE-Zm9v_YmFy=="}), CASE.account, CASE.secrets)
    assert answer is not None
    assert json.loads(answer.body) == {"response_token": mac(b"MTYxNDE-Zm9v_YmFy==")}


@pytest.mark.parametrize("token", ["", "{}", '{"for_user_id":"1"}', "a b", "a\n", "a" * 501, "[1]", '"a"'])
def test_the_challenge_signs_nothing_that_could_be_a_webhook(token: str) -> None:
    assert x.challenge(Request(b"", {}, {"crc_token": token}), CASE.account, CASE.secrets) is None


def test_a_direct_message_is_answered_directly() -> None:
    call = render("Hi", files=(FILE,))
    assert (call.method, call.url) == ("POST", f"https://api.x.com/2/dm_conversations/with/{USER}/messages")
    assert call.headers == {"content-type": "application/json", "authorization": "Bearer access"}
    assert json.loads(call.body) == {"text": "Hi\nhttps://cdn.example/a.pdf"}


def test_a_post_is_answered_by_a_post() -> None:
    call = render("Hi", to=f"post:{USER}", in_reply_to="post:1063052318450909184")
    assert call.url == "https://api.x.com/2/tweets"
    assert json.loads(call.body) == {"text": "Hi", "reply": {"in_reply_to_tweet_id": "1063052318450909184"}}


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("hello", 5),
        ("e\u0301", 1),
        ("日本語", 6),
        ("สวัสดี", 6),
        ("“a” – b…", 9),
        ("€", 2),
        ("👍", 2),
        ("👍🏽", 2),
        ("👨‍👩‍👧‍👦", 2),
        ("🏳️‍🌈", 2),
        ("🇵🇱🇩🇪", 4),
        ("1️⃣", 2),
        ("❤️", 2),
        ("▶️", 2),
        ("© ®", 3),
        ("see https://example.com/a/very/long/path?with=query. ok", 31),
        ("", 0),
    ],
)
def test_a_post_is_as_long_as_twitter_text_counts_it(text: str, counted: int) -> None:
    """The figures are those of twitter-text 3.1.0, `parseTweet(text).weightedLength`."""
    assert x.length(text) == counted


@pytest.mark.parametrize(
    ("text", "fine"), [("x" * 280, True), ("x" * 281, False), ("字" * 140, True), ("字" * 141, False)]
)
def test_a_post_has_at_most_280_characters(text: str, fine: bool) -> None:
    def posted() -> Any:
        return json.loads(render(text, to=f"post:{USER}", in_reply_to="post:1").body)["text"]

    if fine:
        assert posted() == text
    else:
        with pytest.raises(Unsendable, match=r"at most 280 characters, and this has 28[12] as X counts"):
            posted()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"to": ""}, "recipient"),
        ({"to": "annlee"}, "recipient"),
        ({"text": " "}, "recipient"),
        ({"to": f"post:{USER}"}, "the post that it answers"),
        ({"to": f"post:{USER}", "in_reply_to": "1062015437679050760"}, "the post that it answers"),
        ({"text": "x" * 10_001}, "at most 10000"),
        ({"files": (File("a", "b", b"c"),)}, "https URL only"),
    ],
)
def test_what_x_does_not_take_is_not_sent(more: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unsendable, match=reason):
        render(**more)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (201, CASE.reply_id[1] if CASE.reply_id else b"", Sent("1582103724607971332")),
        (201, b'{"data":{"id":"1445880548472328192","text":"Hi"}}', Sent("post:1445880548472328192")),
        (201, b"{}", Sent(None)),
        (403, b'{"detail":"You cannot send messages to this user."}', True),
        (403, b'{"type":"https://api.twitter.com/2/problems/client-forbidden"}', False),
        (401, b'{"title":"Unauthorized"}', False),
        (400, b'{"title":"Invalid Request"}', True),
    ],
)
def test_an_answer_says_what_became_of_a_reply(status: int, body: bytes, expected: Any) -> None:
    found = x.outcome(status, {}, body)
    assert (found.permanent if isinstance(found, SendFailure) else found) == expected


def test_a_token_is_given_for_a_refresh_token() -> None:
    call = x.OAUTH.refresh(CASE.account, CASE.secrets, "r1", s.NOW)
    assert (call.method, call.url) == ("POST", "https://api.x.com/2/oauth2/token")
    login = base64.b64encode(b"TzBfM2ZkVXJrT2lYcE5qSGs6MTpjaQ:client secret").decode()
    assert call.headers == {
        "authorization": f"Basic {login}",
        "content-type": "application/x-www-form-urlencoded",
    }
    assert dict(parse_qsl(call.body.decode())) == {"grant_type": "refresh_token", "refresh_token": "r1"}
    body = s.encode({"token_type": "bearer", "expires_in": 7200, "access_token": "a", "refresh_token": "r2"})
    assert x.OAUTH.read(200, body) == Grant("a", 7200.0, "r2")
