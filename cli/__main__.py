"""The commands, their options and exit codes. What they do is in the modules beside this one."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from aiokafka.errors import KafkaConnectionError

from cli import table
from cli.audit import Audit
from cli.checking import faults
from cli.describe import describe
from cli.fleet import ROOT
from cli.letters import Choice, Found, find, groups
from cli.letters import replay as send_back
from cli.reading import read
from cli.replaying import outcome
from cli.screen import clean, console, say
from contracts import topics as catalogue
from contracts.dlq import REFUSED
from kit.base.clock import SystemClock
from kit.base.errors import Passing
from kit.kafka.admin import create_topics

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Deskbus from the command line."
)
checks = typer.Typer(no_args_is_help=True, help="Look whether something is in order.")
letters = typer.Typer(no_args_is_help=True, help="What services could not handle.")
app.add_typer(checks, name="check")
app.add_typer(letters, name="dlq")

Kafka = Annotated[str, typer.Option(envvar="DESKBUS_KAFKA", help="Bootstrap servers.")]
Prefix = Annotated[str, typer.Option(envvar="DESKBUS_TOPIC_PREFIX", help="What goes before every topic.")]
Service = Annotated[str, typer.Argument(help="ingest, routing, sla or notify.")]
Reason = Annotated[str | None, typer.Option(help="Only letters whose reason contains this.")]
Receipt = Annotated[str | None, typer.Option(help="Only the letter of this receipt.")]
Offset = Annotated[list[str] | None, typer.Option(help="Only this letter, as partition/offset; may be repeated.")]
_LOCAL = "127.0.0.1:9092"
T = TypeVar("T")
LOCAL_PARTITIONS = catalogue.LOCAL_PARTITIONS


@app.command()
def run(
    replicas: Annotated[int, typer.Option(min=1, help="Of each service.")] = 1,
    config: Annotated[Path, typer.Option(help="Folder of the policy files.")] = ROOT / "deploy" / "config",
    kafka: Annotated[str | None, typer.Option(envvar="DESKBUS_KAFKA", help=f"Bootstrap servers ({_LOCAL}).")] = None,
    prefix: Annotated[
        str | None, typer.Option(envvar="DESKBUS_TOPIC_PREFIX", help="What goes before every topic.")
    ] = None,
) -> None:
    """Run all services in the foreground; Ctrl-C ends them. What the environment says wins over `.env`."""
    from cli import running

    options = {"DESKBUS_KAFKA": kafka, "DESKBUS_TOPIC_PREFIX": prefix}
    chosen = {name: value for name, value in options.items() if value is not None}
    given = {**running.from_file(running.ENV_FILE), **os.environ, **chosen}
    given["DESKBUS_KAFKA"] = given.get("DESKBUS_KAFKA") or _LOCAL
    _create(
        given["DESKBUS_KAFKA"], given.get("DESKBUS_TOPIC_PREFIX", ""), catalogue.partitions(given, LOCAL_PARTITIONS)
    )
    raise typer.Exit(running.run(given, config, replicas))


@app.command()
def demo(
    plain: Annotated[bool, typer.Option(help="Lines instead of a live view.")] = False,
    keep: Annotated[bool, typer.Option(help="Keep its topics and databases.")] = False,
) -> None:
    """Show customers' messages becoming tickets, finding their people, and escalating; ends with an audit."""
    from cli.demo.stage import run as run_demo

    raise typer.Exit(run_demo(os.environ, plain=plain or not sys.stdout.isatty(), keep=keep))


@app.command()
def topics(
    kafka: Kafka = _LOCAL,
    prefix: Prefix = "",
    partitions: Annotated[int, typer.Option(envvar=catalogue.PARTITIONS_VARIABLE, min=1)] = LOCAL_PARTITIONS,
    replication: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Make the topics that are missing and set the others right."""
    say(_create(kafka, prefix, partitions, replication))


def _create(kafka: str, prefix: str, partitions: int, replication: int = 1) -> str:
    report = _connected(create_topics(kafka, prefix, partitions, replication))
    lines = [f"{len(report.created)} topics made, {len(report.configured)} set right"]
    if report.other_partitions:
        lines.append(f"not {partitions} partitions, and left so: {', '.join(report.other_partitions)}")
    return "\n".join(lines)


@checks.command("config")
def check_config(folder: Annotated[Path, typer.Argument(help="Folder with one YAML file a service.")]) -> None:
    """Say what is wrong with policy files, as file:line: reason."""
    found = list(faults(folder))
    for fault in found:
        say(fault)
    if found:
        raise typer.Exit(1)
    say(f"{folder}: in order")


@app.command()
def audit(
    kafka: Kafka = _LOCAL,
    prefix: Prefix = "",
    settled: Annotated[bool, typer.Option(help="All work should be done: what is open counts as a fault.")] = False,
) -> None:
    """Read all topics: was anything lost, doubled, given to two people or forgotten?"""
    whole = Audit()

    async def feed() -> None:
        async for line in read(kafka, [topic.name for topic in catalogue.TOPICS], prefix=prefix):
            whole.feed(line)

    _connected(feed())
    report = whole.report(SystemClock().now())
    console().print(table.of_audit(report, settled=settled))
    if not report.holds(settled=settled):
        raise typer.Exit(1)


@letters.command("list")
def list_letters(
    service: Service, kafka: Kafka = _LOCAL, prefix: Prefix = "", reason: Reason = None, receipt: Receipt = None
) -> None:
    """List dead letters, oldest first."""
    found = _find(kafka, service, Choice(reason, receipt), prefix)
    console().print(table.of_letters(found))
    for count, where, why in groups(each.letter for each in found):
        say(f"{count:>6}  {clean(where)}  {clean(why)}")


@letters.command("show")
def show_letter(
    service: Service,
    offset: Annotated[str, typer.Argument(help="The letter, as partition/offset.")],
    kafka: Kafka = _LOCAL,
    prefix: Prefix = "",
) -> None:
    """Show one dead letter whole."""
    found = _find(kafka, service, Choice(places=frozenset([offset])), prefix)
    if not found:
        raise _fail(f"there is no letter {offset}")
    say("\n".join(table.lines_of_letter(found[0])))


@letters.command("replay")
def replay(
    service: Service,
    kafka: Kafka = _LOCAL,
    prefix: Prefix = "",
    reason: Reason = None,
    receipt: Receipt = None,
    offset: Offset = None,
    again: Annotated[bool, typer.Option(help="Also letters that were replayed before.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every letter; needed when nothing else is named.")] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for what becomes of them.")] = 10.0,
) -> None:
    """Send dead letters back to their service, after what was wrong is mended, and say what became of them.

    A letter whose event was given up is refused by the service: it comes back with a reason that begins with `floor`.
    """
    if not (reason or receipt or offset or everything):
        raise _fail("say which: --reason, --receipt, --offset or --all")

    found = _find(kafka, service, Choice(reason, receipt, frozenset(offset or ())), prefix)
    meant = [each for each in found if again or not each.replayed]
    left = _connected(send_back(kafka, service, meant, prefix=prefix))
    before = f", {len(found) - len(meant)} replayed before and left" if len(found) > len(meant) else ""
    say(f"{len(meant) - len(left)} sent to {catalogue.retry(service)}{before}")
    if left:
        say(f"not taken by Kafka: {', '.join(each.place for each in left)}", error=True)
    sent = [each.place for each in meant if each not in left]
    came_back = _tell_outcome(kafka, service, prefix, sent, wait) if sent and wait else False
    if left or came_back:
        raise typer.Exit(1)


def _tell_outcome(kafka: str, service: str, prefix: str, sent: list[str], wait: float) -> bool:
    """Say what became of letters that were sent; returns whether some came back."""
    came_to = _connected(outcome(kafka, service, sent, seconds=wait, prefix=prefix))
    if came_to.taken:
        say(f"{len(came_to.taken)} taken up")
    if came_to.waiting:
        say(f"{len(came_to.waiting)} not taken up yet: does {service} run? `dlq list {service}` shows what comes back")
    for place, found in came_to.back:
        told = "refused, the floor has passed it" if found.letter.error_type == REFUSED else "came back"
        say(f"{place} {told}, as letter {found.place}: {clean(found.letter.error)}", error=True)
    return bool(came_to.back)


def _find(kafka: str, service: str, choice: Choice, prefix: str) -> list[Found]:
    found = _connected(find(kafka, _known(service), choice, prefix=prefix))
    for stray in found.strays:
        say(f"no dead letter, passed over: {clean(stray)}", error=True)
    return found.letters


@app.command()
def tail(
    kafka: Kafka = _LOCAL,
    prefix: Prefix = "",
    topic: Annotated[list[str] | None, typer.Option(help="Only this topic, e.g. sla; may be repeated.")] = None,
    ticket: Annotated[str | None, typer.Option(help="Only what is about this ticket: its id or the end of it.")] = None,
    begin: Annotated[bool, typer.Option("--from-beginning", help="Not only what comes from now on.")] = False,
) -> None:
    """Follow the topics, one line an event."""
    names = [each.name for each in catalogue.TOPICS if not topic or any(each.name.split(".")[1] == t for t in topic)]
    if not names:
        raise _fail(f"no such topic: {', '.join(topic or ())}")

    async def follow() -> None:
        async for line in read(kafka, names, prefix=prefix, follow=True, from_end=not begin):
            described = describe(line)
            if ticket is None or described.subject.endswith(ticket):
                say(str(described))

    try:
        _connected(follow())
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _connected(work: Coroutine[Any, Any, T]) -> T:
    """Do what needs Kafka, and say so when it does not answer."""
    try:
        return asyncio.run(work)
    except (Passing, KafkaConnectionError) as fault:
        raise _fail(f"{fault} (is the stack up?)") from fault


def _known(service: str) -> str:
    if service not in catalogue.SERVICES:
        raise _fail(f"no such service: {service}; there are {', '.join(catalogue.SERVICES)}")
    return service


def _fail(text: str) -> typer.Exit:
    say(f"deskbus: {text}", error=True)
    return typer.Exit(2)


if __name__ == "__main__":
    app(prog_name="deskbus")
