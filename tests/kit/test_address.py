"""URLs, mail addresses and hosts as policies write them."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from kit.base.settings import ServiceSettings
from kit.policy.address import Address, Hosts, HostsSetting, Url

URLS = [
    "https://api.line.me",
    "http://127.0.0.1:9/",
    "https://a.example/x/?y=1",
    "https://[::1]:8443/x",
    "${URL}",
    "${URL}/v2/",
    "${URL:-https://a.example}/v2",
    "https://${HOST:-a.example}/x",
]
NO_URLS = [
    ("ftp://x", "must be an http(s) URL, or ${NAME:-url}"),
    ("a.example/x", "must be an http(s) URL"),
    ("https://", "must be an http(s) URL"),
    ("https:///x", "must be an http(s) URL"),
    ("https://:80/", "must be an http(s) URL"),
    ("https://a.example:0/", "must be an http(s) URL"),
    ("https://a.example:99999/", "must be an http(s) URL"),
    ("https://[::1/", "must be an http(s) URL"),
    ("https://a.example/#x", "must be an http(s) URL"),
    ("https://a.example/a b", "must be an http(s) URL"),
    ("https://a.example\n", "must be an http(s) URL"),
    ("${URL:-ftp://x}", "must be an http(s) URL"),
    ("https://u:hunter2@x.example/r", "must not contain a user or password"),
    ("https://token@x.example", "must not contain a user or password"),
    ("${U:-https://u:p@x.example}", "must not contain a user or password"),
]
ADDRESSES = [("desk@nimbus.example", "desk@nimbus.example"), ("Desk+X@Nimbus.Example", "desk+x@nimbus.example")]
NO_ADDRESSES = [
    "desk",
    "@nimbus.example",
    "desk@",
    "a b@c.example",
    "a@b@c.example",
    "a@b_c.example",
    "<a@b.example>",
    "",
]
HOSTS = [("Connector:8080", "connector:8080"), ("10.0.0.1", "10.0.0.1")]
NO_HOSTS = ["", "http://10.0.0.1", "*.example", "10.0.0.0/8"]


@pytest.mark.parametrize("text", URLS)
def test_a_url_is_kept_as_it_is_written(text: str) -> None:
    assert TypeAdapter(Url).validate_python(text) == text


@pytest.mark.parametrize(("text", "reason"), NO_URLS)
def test_what_could_not_be_called_or_holds_a_secret_is_no_url(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as refusal:
        TypeAdapter(Url).validate_python(text)
    assert reason in str(refusal.value)


@pytest.mark.parametrize(("text", "kept"), ADDRESSES)
def test_an_address_is_kept_in_lower_case(text: str, kept: str) -> None:
    assert TypeAdapter(Address).validate_python(text) == kept


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a mail address"):
        TypeAdapter(Address).validate_python(text)


@pytest.mark.parametrize(("text", "kept"), HOSTS)
def test_a_host_is_kept_in_lower_case(text: str, kept: str) -> None:
    assert TypeAdapter(Hosts).validate_python(text) == (kept,)


@pytest.mark.parametrize("text", NO_HOSTS)
def test_a_host_is_named_and_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match="is not a host or host:port"):
        TypeAdapter(Hosts).validate_python([text])


def test_hosts_of_a_setting_are_separated_by_commas() -> None:
    setting = TypeAdapter(HostsSetting)
    assert setting.validate_python(" Connector:8080,, 10.0.0.1 ") == ("connector:8080", "10.0.0.1")
    assert setting.validate_python("") == ()
    with pytest.raises(ValueError, match="'http://x' is not a host or host:port"):
        setting.validate_python("a,http://x")


def test_hosts_are_read_from_the_environment_and_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Settings(ServiceSettings, env_prefix="DESKBUS_INGEST_"):
        allow_hosts: HostsSetting = ()

    monkeypatch.setenv("DESKBUS_INGEST_ALLOW_HOSTS", "connector:8080, 10.0.0.1")
    assert Settings().allow_hosts == ("connector:8080", "10.0.0.1")
    monkeypatch.setenv("DESKBUS_INGEST_ALLOW_HOSTS", "")
    assert Settings().allow_hosts == ()
    (tmp_path / "deskbus_ingest_allow_hosts").write_text("of.a.file")
    monkeypatch.setenv("DESKBUS_SECRETS_DIR", str(tmp_path))
    assert Settings().allow_hosts == ("of.a.file",)
