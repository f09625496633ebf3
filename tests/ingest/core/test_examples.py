"""Every committed example of what ingest subscribes to is understood by today's parser and core."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, create_model

from contracts import corpus, topics
from contracts.commands import Forward, HandOff, Merge, Reply, Split, Transfer
from contracts.corpus import Example
from contracts.envelope import Command
from contracts.tickets import CommandRejected
from services.ingest.channels import CHANNELS
from services.ingest.core.asked import fingerprint
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


FINGERPRINTS = {
    "forward.v1/late-message": "77245uwwdyi4ijwy",
    "hand_off.v1/bot": "thecl255p2sj5prc",
    "merge.v1/same-customer": "j72h6m3dkee64u2u",
    "note.v1/polish": "wnraiyew5rlqkmvy",
    "reply.v1/polish-with-file": "jcdbpf72jo6xrkia",
    "reply.v1/template": "dd3i233t6gexnail",
    "reply.v1/thai": "a3lipgqfpvttroxj",
    "set_facts.v1/from-shop": "nhhcnlbhf76wuork",
    "set_priority.v1/raise": "amaifikp2umdkv6e",
    "set_status.v1/solve": "ej4hkezqk5fxtala",
    "set_tags.v1/add": "3kwvrwfpdpgsgyfn",
    "set_tags.v1/replace": "2bg4sk2n56zf7nwz",
    "split.v1/second-question": "6mqjuvljap6g5kev",
    "transfer.v1/to-agent": "iqyph2rchirzodrc",
    "transfer.v1/to-queue": "cquutwv76p6rlen5",
}
"""What tickets remember of the examples. A value here never changes: a command that comes again is known by it."""


@each_command
def test_a_command_that_was_remembered_before_an_upgrade_is_known_after_it(example: Example) -> None:
    name = f"{example.type.removeprefix('deskbus.command.')}/{example.name}"
    command = Command.parse(example.value)
    assert fingerprint(command).rpartition("#")[2] == FINGERPRINTS[name], f"what {name} asks has another hash now"


@each_command
def test_a_field_of_a_later_release_changes_no_fingerprint_until_it_is_used(example: Example) -> None:
    command = Command.parse(example.value)
    later = command.model_copy(update={"data": with_later_fields(command.data)})
    assert "later" in later.data.model_dump_json()
    assert fingerprint(later) == fingerprint(command)
    used = command.model_copy(update={"data": with_later_fields(command.data, later="x")})
    assert fingerprint(used) != fingerprint(command)
    author = used.data.by.model_copy(update={"later": "x"})
    used = later.model_copy(update={"data": later.data.model_copy(update={"by": author})})
    assert fingerprint(used) != fingerprint(command), "within a value, too"


def with_later_fields(value: Any, **fields: Any) -> Any:
    """The same value as a later release has it, with one more optional field in it and in the values within it."""
    inner = {
        name: with_later_fields(each)
        if isinstance(each, BaseModel)
        else tuple(with_later_fields(part) if isinstance(part, BaseModel) else part for part in each)
        for name in type(value).model_fields
        if isinstance(each := getattr(value, name), BaseModel | tuple)
    }
    types: dict[str, Any] = {name: (Any, type(value).model_fields[name]) for name in inner}
    release = create_model(f"Later{type(value).__name__}", __base__=type(value), later=(str | None, None), **types)
    known = {name: getattr(value, name) for name in type(value).model_fields}
    return release.model_construct(**{**known, **inner, **fields})


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
