"""What the channels share: signatures, bodies, links to files, keys of partitions."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest

from services.ingest.channels.channel import digest, hmac_is_one_of, json_body, public_url, short_key
from services.ingest.core.messages import File, Unsendable


@pytest.mark.parametrize(
    ("given", "keys", "right"),
    [
        (["a"], ["a"], True),
        (["x", "b"], ["a", "b"], True),  # while a secret is being changed
        (["b"], ["b", "a"], True),
        (["b"], ["a"], False),
        ([], ["a"], False),
        (["a"], [], False),
    ],
)
def test_one_signature_that_was_made_with_one_of_the_keys_is_enough(
    given: list[str], keys: list[str], right: bool
) -> None:
    for algorithm in ("sha256", "sha1"):
        made = [hmac.new(key.encode(), b"message", algorithm).digest() for key in given]
        assert hmac_is_one_of(made, [key.encode() for key in keys], b"message", algorithm) is right


def test_a_signature_is_made_with_sha256_unless_the_provider_says_otherwise() -> None:
    made = hmac.new(b"key", b"message", hashlib.sha256).digest()
    assert hmac_is_one_of(iter([made]), iter([b"key"]), b"message")
    assert not hmac_is_one_of([made], [b"key"], b"message", "sha1")
    assert not hmac_is_one_of([made], [b"key"], b"another")


def test_texts_go_to_a_provider_as_they_are_so_that_they_take_no_more_bytes_than_their_letters() -> None:
    assert "สวัสดี".encode() in json_body({"text": "สวัสดี"})


def test_a_text_with_half_a_character_is_still_written() -> None:
    assert json.loads(json_body({"text": "a\ud800b"})) == {"text": "a?b"}


@pytest.mark.parametrize("url", [None, "http://cdn.example/a.pdf", "ftp://cdn.example/a.pdf"])
def test_a_provider_fetches_files_by_https_only(url: str | None) -> None:
    with pytest.raises(Unsendable, match=r"\bprovider\b.*\ba\.pdf\b"):
        public_url(File("a.pdf", "application/pdf", url=url), "provider")
    assert public_url(File("a", "b/c", url="https://cdn.example/a"), "provider") == "https://cdn.example/a"


@pytest.mark.parametrize(("name", "shown"), [("", "file"), ("\r\n", "file"), ("n" * 300, "n" * 100)])
def test_a_file_that_cannot_be_sent_is_told_by_a_name_of_bounded_length(name: str, shown: str) -> None:
    with pytest.raises(Unsendable) as told:
        public_url(File(name, "application/pdf"), "provider")
    assert [word for word in str(told.value).split() if word in {shown, name[:101]}] == [shown]


def test_a_body_that_names_nobody_has_a_key_of_its_own() -> None:
    assert digest(b"a") == digest(b"a") != digest(b"b")
    assert len(digest(b"a")) == len(digest(b"b" * 5000)) == 32
    assert hashlib.sha256(b"a").hexdigest().startswith(digest(b"a"))


def test_a_partition_key_names_account_and_contact_while_both_are_short() -> None:
    contact = "c" * (200 - len("line-th:"))
    assert short_key("line-th", contact) == f"line-th:{contact}"
    assert short_key("line-th", "ü") == "line-th:ü"


def test_a_long_contact_has_a_short_key_of_its_own_with_its_account() -> None:
    contact = "c" * (201 - len("line-th:"))
    key = short_key("line-th", contact)
    assert key == short_key("line-th", contact)
    assert len(key) < 100
    assert key.startswith("line-th:")
    assert key != short_key("line-th", contact + "c")
    assert key not in {short_key("line-jp", contact), f"line-th:{contact}"}
    assert short_key("line-th", contact + "\ud800") != key  # what no encoding knows has a key too
