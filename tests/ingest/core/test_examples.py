"""Every committed example of what ingest subscribes to is understood by today's parser and core."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from contracts import corpus, topics
from contracts.commands import Forward, HandOff, Merge, Reply, Split, Transfer
from contracts.corpus import Example
from contracts.envelope import Command
from contracts.tickets import CommandRejected
from services.ingest.channels import CHANNELS
from services.ingest.core.commands import SOURCE, CommandContext, decide
from services.ingest.core.messages import InboundMessage
from services.ingest.core.policy import ReplyWindow
from services.ingest.core.state import TicketState
from tests.ingest.channels import samples
from tests.ingest.core.asking import refusal, stored
from tests.ingest.core.timeline import POLICY as DEFAULT

POLICY = replace(DEFAULT, window=ReplyWindow(timedelta(days=1), templates=True))
"""Of a channel that takes all that the examples ask for."""
COMMANDS = corpus.examples(*topics.BY_NAME[topics.COMMAND].types)
each_command = pytest.mark.parametrize("example", COMMANDS, ids=lambda example: f"{example.type}/{example.name}")


def asked(example: Example) -> tuple[TicketState, CommandContext]:
    """A ticket that the command may be sent to, and the command with what the worker looks up for it."""
    command = Command.parse(example.value)
    state = stored(bot=isinstance(command.data, HandOff), ticket={"id": command.subject})
    looked: dict[str, Any] = {}
    if isinstance(command.data, Reply):
        looked = {"files": frozenset(file.ref for file in command.data.attachments)}
    elif isinstance(command.data, Merge):
        assert state.ticket is not None
        looked = {"other": state.ticket.model_copy(update={"id": command.data.into})}
        state = stored(ticket={"id": command.subject}, unanswered=())
    elif isinstance(command.data, Forward):
        command = command.model_copy(update={"source": SOURCE})
    return state, CommandContext(command, **looked)


@each_command
def test_a_command_is_carried_out_once(example: Example) -> None:
    state, context = asked(example)
    decision = decide(state, context, POLICY, context.command.time)
    if isinstance(context.command.data, Transfer):  # routing carries it out
        assert decision.state is None
        return
    assert decision.state is not None
    if isinstance(context.command.data, Split):  # reserved
        assert refusal(decision)[0] == "unknown_command"
    else:
        assert not any(isinstance(event, CommandRejected) for event in decision.events)
        assert (decision.state.ticket, decision.state.pending) != (state.ticket, state.pending)
    again = decide(decision.state, context, POLICY, context.command.time)
    assert (again.state, again.events) == (None, ())


@each_command
def test_a_command_to_a_ticket_that_does_not_exist_is_refused(example: Example) -> None:
    command = Command.parse(example.value)
    decision = decide(TicketState(), CommandContext(command), POLICY, command.time)
    if isinstance(command.data, Transfer):  # routing refuses it
        assert decision.state is None
    else:
        assert refusal(decision)[0] == "unknown_ticket"


def test_there_is_an_example_of_every_command() -> None:
    assert {example.type for example in COMMANDS} == set(topics.BY_NAME[topics.COMMAND].types)


@pytest.mark.parametrize("record", corpus.inbound_examples(), ids=lambda record: record.channel)
def test_a_raw_message_is_parsed(record: Any) -> None:
    (account,) = [each for each in samples.ACCOUNTS.accounts if each.external_id == record.account]
    (message,) = CHANNELS[record.channel].parse(record, account, samples.ACCOUNTS, samples.SECRETS)
    assert isinstance(message, InboundMessage)
    assert message.text == "พัสดุยังไม่ถึงเลยครับ"
