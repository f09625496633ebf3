"""TLS to the relay: each mode against each relay, through both services' ways out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kit.http_client import HttpClient
from kit.relay import RelayTls, refuse_unsafe, tls_options
from services.ingest.channels import email
from services.ingest.core.messages import Sent as Taken
from services.ingest.settings import IngestSettings
from services.ingest.transport import Smtp, Transport
from services.notify.core.settle import Sent as Notified
from services.notify.settings import NotifySettings
from services.notify.sinks.email import EmailSink, Relay
from tests.ingest.channels import samples as s
from tests.kit.relays import Offers, relay, self_signed
from tests.notify.test_sinks import SECRETS, TO_DESK, notification


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("relay"))


async def ingest_sends(port: int, mode: RelayTls, ca: Path | None) -> bool:
    wire = Transport(Smtp(port=port, tls=tls_options(mode, ca)), HttpClient(set, agent="test"), seconds=5)
    return isinstance(await wire.send(email.render(s.reply(to="jan@example.org"), s.NIMBUS, s.SECRETS), email), Taken)


async def notify_sends(port: int, mode: RelayTls, ca: Path | None) -> bool:
    sink = EmailSink(Relay("127.0.0.1", port, "desk@nimbus.example", tls=tls_options(mode, ca), seconds=5), SECRETS)
    return isinstance(await sink.deliver(notification(**TO_DESK)), Notified)


@pytest.mark.parametrize(
    ("mode", "with_ca", "offers", "arrives"),
    [
        ("none", False, "nothing", "plain"),
        ("none", False, "starttls", "plain"),
        ("opportunistic", False, "nothing", "plain"),
        ("opportunistic", False, "starttls", "encrypted"),
        ("required", False, "nothing", None),
        ("required", False, "starttls", None),
        ("required", True, "nothing", None),
        ("required", True, "starttls", "encrypted"),
        ("implicit", False, "implicit", None),
        ("implicit", True, "implicit", "encrypted"),
    ],
)
@pytest.mark.parametrize("sends", [ingest_sends, notify_sends])
async def test_a_mail_leaves_only_as_safely_as_its_mode_says(
    sends: Any, mode: RelayTls, offers: Offers, arrives: str | None, certificate: tuple[Path, Path], *, with_ca: bool
) -> None:
    async with relay(offers, certificate) as taken:
        assert await sends(taken.port, mode, certificate[0] if with_ca else None) == (arrives is not None)
    assert taken.encrypted == ([] if arrives is None else [arrives == "encrypted"])


@pytest.mark.parametrize("sends", [ingest_sends, notify_sends])
async def test_a_certificate_of_another_host_is_refused_where_it_is_required(sends: Any, tmp_path: Path) -> None:
    other = self_signed(tmp_path, "127.0.0.2")
    async with relay("starttls", other) as taken:
        assert not await sends(taken.port, "required", other[0])
        assert await sends(taken.port, "opportunistic", None)


@pytest.mark.parametrize(
    ("mode", "ca", "password", "reason"),
    [
        ("none", "ca.pem", False, "a CA .* not none"),
        ("opportunistic", "ca.pem", False, "a CA .* not opportunistic"),
        ("opportunistic", None, True, "a password"),
    ],
)
def test_settings_that_promise_what_they_do_not_hold_are_refused(
    mode: RelayTls, ca: str | None, reason: str, *, password: bool
) -> None:
    with pytest.raises(ValueError, match=reason):
        refuse_unsafe(mode, None if ca is None else Path(ca), password=password)
    ingest: dict[str, Any] = {"relay_tls": mode, "relay_ca": ca, "relay_password": "x" if password else None}
    notify: dict[str, Any] = {"smtp_tls": mode, "smtp_ca": ca, "smtp_password": "env:X" if password else ""}
    with pytest.raises(ValidationError, match=reason):
        IngestSettings(**ingest)
    with pytest.raises(ValidationError, match=reason):
        NotifySettings(**notify)


@pytest.mark.parametrize("mode", ["none", "required", "implicit"])
def test_a_password_goes_where_the_operator_can_know_who_reads_it(mode: RelayTls) -> None:
    refuse_unsafe(mode, None, password=True)


def test_a_missing_ca_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        tls_options("required", tmp_path / "none.pem")


@pytest.mark.parametrize("mode", ["none", "opportunistic", "required", "implicit"])
def test_both_services_do_what_their_settings_say(mode: RelayTls) -> None:
    wanted = tls_options(mode)
    ingest, notify = IngestSettings(relay_tls=mode), NotifySettings(smtp_tls=mode)
    for tls in (Smtp.from_settings(ingest).tls, Relay.from_settings(notify).tls):
        assert (tls["use_tls"], tls["start_tls"]) == (wanted["use_tls"], wanted["start_tls"])
        assert (tls["tls_context"] is None) == (mode == "none")


def test_both_services_log_in_as_their_settings_say() -> None:
    ingest = Smtp.from_settings(
        IngestSettings(relay_host="r", relay_port=587, relay_tls="implicit", relay_username="u", relay_password="p")
    )
    assert (ingest.host, ingest.port, ingest.username, ingest.password) == ("r", 587, "u", "p")
    notify = Relay.from_settings(
        NotifySettings(
            smtp_host="r", smtp_port=587, smtp_tls="implicit", smtp_from="a@b", smtp_user="u", smtp_password="env:P"
        )
    )
    assert (notify.host, notify.port, notify.sender, notify.user, notify.password) == ("r", 587, "a@b", "u", "env:P")


def test_both_services_read_the_ca_file_of_their_settings(tmp_path: Path) -> None:
    missing = tmp_path / "none.pem"
    with pytest.raises(OSError, match="No such file"):
        Smtp.from_settings(IngestSettings(relay_tls="required", relay_ca=missing))
    with pytest.raises(OSError, match="No such file"):
        Relay.from_settings(NotifySettings(smtp_tls="required", smtp_ca=missing))
