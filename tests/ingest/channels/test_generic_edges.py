"""The edges of the generic webhook: secrets without padding, and reasons of a bounded length."""

from __future__ import annotations

import base64

import pytest

from services.ingest.channels import generic
from services.ingest.core.messages import Unreadable
from tests.ingest.channels import samples as s


@pytest.mark.parametrize("length", [24, 25, 26])
def test_a_secret_verifies_with_its_padding_or_without(length: int) -> None:
    padded = "whsec_" + base64.b64encode(b"k" * length).decode()
    own = s.COUPANG.model_copy(update={"signing": ("env:OURS",)})
    for secret in (padded, padded.rstrip("=")):
        request = s.request(b"{}", s.sign_generic(b"{}", secret=padded))
        generic.verify(request, own, type(s.SECRETS)({"OURS": secret}), s.NOW)


def test_a_wrong_document_is_refused_with_at_most_500_characters() -> None:
    document = {"id": "1", "type": "message", "from": {"id": "u"}, "required_skills": {"k" * 600: "many"}}
    with pytest.raises(Unreadable) as refusal:
        generic.parse(s.record(s.COUPANG, s.encode(document)), s.COUPANG, s.ACCOUNTS, s.SECRETS)
    assert len(str(refusal.value)) == 500
