"""Where a channel keeps a file: the request, and whose credentials go where."""

from __future__ import annotations

import base64
import json

import pytest

from contracts.ticket import Attachment
from services.ingest.accounts import Account
from services.ingest.channels import CHANNELS
from services.ingest.core.messages import HttpCall, SendFailure, Unsendable, Upload
from tests.ingest.channels import samples as s

EVIL = "https://evil.example/x"


def original(own: Account, media_id: str | None, url: str | None) -> HttpCall | Upload:
    file = Attachment(name="a.jpg", media_type="image/jpeg", media_id=media_id, url=url)
    return CHANNELS[own.channel].original(file, own, s.SECRETS)


def test_whatsapp_is_asked_first_where_the_file_is() -> None:
    wanted = original(s.WA, "1/../2", None)
    assert isinstance(wanted, Upload)
    login = {"authorization": f"Bearer {s.SECRETS.secret(s.WA.access)}"}
    assert wanted.call == HttpCall("GET", "https://graph.facebook.com/v25.0/1%2F..%2F2", login, b"")
    url = "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1"
    assert wanted.then(200, json.dumps({"url": url}).encode()) == HttpCall("GET", url, login, b"")
    for status, body in ((200, b"{}"), (200, b"no"), (401, json.dumps({"url": url}).encode())):
        assert isinstance(wanted.then(status, body), SendFailure)


@pytest.mark.parametrize(
    ("own", "media_id", "url", "expected"),
    [
        (s.LINE, "4445", None, "https://api-data.line.me/v2/bot/message/4445/content"),
        (s.LINE, "a/b", None, "https://api-data.line.me/v2/bot/message/a%2Fb/content"),
        (s.LINE, None, EVIL, EVIL),
        (s.SMS, None, "https://api.twilio.com/2010-04-01/Accounts/AC0/Messages/MM1/Media/ME1", None),
        (s.SMS, None, EVIL, EVIL),
        (s.SMS, None, "https://api.twilio.com.evil.example/x", None),
        (s.SMS, None, "https://api.twilio.com@evil.example/x", None),
        (s.ALLEGRO, None, EVIL, EVIL),
        (s.NIMBUS, None, EVIL, EVIL),
    ],
)
def test_credentials_go_to_the_providers_own_api_only(
    own: Account, media_id: str | None, url: str | None, expected: str | None
) -> None:
    wanted = original(own, media_id, url)
    assert isinstance(wanted, HttpCall)
    assert (wanted.method, wanted.url, wanted.body) == ("GET", expected or url, b"")
    token = s.SECRETS.secret(own.access) if own.access else ""
    user = s.SECRETS.expand(own.username or "")
    basic = base64.b64encode(f"{user}:{token}".encode()).decode()
    login = {"https://api-data.line.me/": f"Bearer {token}", "https://api.twilio.com/": f"Basic {basic}"}
    right = next((each for host, each in login.items() if wanted.url.startswith(host)), None)
    assert wanted.headers.get("authorization") == right


@pytest.mark.parametrize(("own", "media_id"), [(s.SMS, "1"), (s.NIMBUS, "1"), (s.ALLEGRO, None)])
def test_a_channel_that_keeps_no_such_file_says_so(own: Account, media_id: str | None) -> None:
    with pytest.raises(Unsendable):
        original(own, media_id, None)


def test_a_file_whose_address_is_not_told_is_asked_for_again() -> None:
    wanted = original(s.WA, "1", None)
    assert isinstance(wanted, Upload)
    refused = wanted.then(404, b"{}")
    assert isinstance(refused, SendFailure)
    assert refused.permanent is False
    assert "404" in refused.reason


@pytest.mark.parametrize(("length", "whole"), [(4000, True), (4001, False)])
def test_no_address_of_more_than_4000_characters_is_followed(length: int, whole: bool) -> None:
    wanted = original(s.WA, "1", None)
    assert isinstance(wanted, Upload)
    url = EVIL + "y" * (length - len(EVIL))
    call = wanted.then(200, json.dumps({"url": url}).encode())
    assert isinstance(call, HttpCall)
    assert len(call.url) == 4000
    assert (call.url == url) is whole


def test_files_of_line_are_fetched_from_another_api_where_the_account_has_one() -> None:
    own = s.LINE.model_copy(update={"base_url": "https://line.proxy.example:8443"})
    wanted = original(own, "4445", None)
    assert isinstance(wanted, HttpCall)
    assert wanted.url == "https://line.proxy.example:8443/v2/bot/message/4445/content"


@pytest.mark.parametrize("missing", ["username", "base_url"])
def test_an_account_of_twilio_that_is_not_whole_sends_no_credentials(missing: str) -> None:
    own = s.SMS.model_copy(update={missing: None})
    wanted = original(own, None, "https://api.twilio.com/2010-04-01/Media/ME1")
    assert wanted == HttpCall("GET", "https://api.twilio.com/2010-04-01/Media/ME1", {}, b"")


def test_credentials_of_twilio_stay_with_twilio() -> None:
    own = s.WA.model_copy(update={"username": s.SMS.username, "base_url": s.SMS.base_url})
    wanted = original(own, None, "https://api.twilio.com/2010-04-01/Media/ME1")
    assert isinstance(wanted, HttpCall)
    assert wanted.headers == {}
