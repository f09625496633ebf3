"""Replies and files of a channel with short-lived tokens: sent with the token of the moment, or tried again later."""

from __future__ import annotations

from contracts.commands import Reply
from kit.policy.secrets import Secrets, Unresolved
from services.ingest.accounts import Account
from services.ingest.channels.originals import token_ref
from services.ingest.core.messages import HttpCall
from services.ingest.core.policy import TicketPolicy
from services.ingest.handlers import policy_of
from services.ingest.reply_delivery import ReplyDelivery
from services.ingest.sender import ReplySender
from tests.ingest.channels.cases.ebay import CASE
from tests.ingest.channels.desk import Desk
from tests.ingest.sender_rig import ALL, FakeOwner, FakeTransport, served
from tests.ingest.worker_rig import AGENT


class Tokens:
    """Gives a token, unless it has none."""

    token: str | None = None

    async def secrets(self, account: Account) -> Secrets:
        if self.token is None:
            raise Unresolved("the token cannot be refreshed")
        return Secrets(CASE.environ, {token_ref(account): self.token})


async def test_a_reply_waits_for_a_token_and_is_sent_with_it() -> None:
    desk, wire, tokens = Desk(CASE), FakeTransport(), Tokens()
    worker = desk.worker
    worker.secrets = Secrets(CASE.environ)
    delivery = ReplyDelivery(
        worker.files, worker.threads, worker.broker, wire, lambda: worker.accounts, worker.secrets, worker.clock,
        commands="deskbus.commands.v1", tokens=tokens,
    )  # fmt: skip

    def policy(channel: str, account: str) -> TicketPolicy:
        return policy_of(worker.accounts.named(channel, account))

    sender = ReplySender(
        worker.tickets, worker.store, FakeOwner(*ALL), delivery, policy, worker.clock, drain_seconds=0.2
    )
    await desk.takes(CASE.message)
    await worker.take(worker.asks(Reply(by=AGENT, text="On its way"), worker.ticket().id))
    await served(sender)
    assert (wire.sent, {"message.sent", "message.failed"} & set(worker.types())) == ([], set())
    tokens.token = "fresh"
    worker.clock.advance(300)
    await served(sender)
    (call,) = wire.sent
    assert isinstance(call, HttpCall)
    assert call.headers["authorization"] == "Bearer fresh"
    assert "message.sent" in worker.types()
