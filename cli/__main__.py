"""The commands, their options and exit codes. What they do is in the other modules of this package."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli import access, table
from cli.audit import Audit
from cli.checking import faults
from cli.connecting import at, connected, fail, reached, settings_of
from cli.describe import describe
from cli.letters import Choice, Found, find, groups
from cli.letters import replay as send_back
from cli.reading import read
from cli.replaying import outcome
from cli.screen import clean, console, say
from cli.topics import create_topics
from contracts import topics as catalogue
from contracts.dlq import REFUSED
from kit.base.clock import SystemClock
from kit.base.errors import InvalidPolicy
from kit.kafka.connection import Connection

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="The Deskbus command line."
)
checks = typer.Typer(no_args_is_help=True, help="Validate configuration.")
letters = typer.Typer(no_args_is_help=True, help="List, show and replay dead letters.")
app.add_typer(checks, name="check")
app.add_typer(letters, name="dlq")

Kafka = Annotated[str, typer.Option(envvar="DESKBUS_KAFKA", help="Bootstrap servers.")]
Replication = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Copies of each partition of topics that are created.",
        show_default="default.replication.factor of the brokers",
    ),
]
Prefix = Annotated[str, typer.Option(envvar="DESKBUS_TOPIC_PREFIX", help="Prefix of every topic name.")]
Service = Annotated[str, typer.Argument(help="ingest, routing, sla or notify.")]
Reason = Annotated[str | None, typer.Option(help="Only letters whose reason contains this text.")]
Receipt = Annotated[str | None, typer.Option(help="Only the letter with this receipt.")]
Offset = Annotated[list[str] | None, typer.Option(help="Only this letter, as partition/offset; repeatable.")]
_LOCAL = "127.0.0.1:9092"
POLICIES = Path(__file__).resolve().parent.parent / "deploy" / "config"
LOCAL_PARTITIONS = catalogue.LOCAL_PARTITIONS


@app.command()
def run(
    replicas: Annotated[int, typer.Option(min=1, help="Replicas of each service.")] = 1,
    config: Annotated[
        Path, typer.Option(help="Directory with the policy files.", show_default="deploy/config")
    ] = POLICIES,
    kafka: Annotated[str | None, typer.Option(envvar="DESKBUS_KAFKA", help=f"Bootstrap servers ({_LOCAL}).")] = None,
    prefix: Annotated[
        str | None, typer.Option(envvar="DESKBUS_TOPIC_PREFIX", help="Prefix of every topic name.")
    ] = None,
) -> None:
    """Run all services in the foreground until Ctrl-C. The environment overrides `.env`."""
    _in_the_repository("run")
    from cli import running

    options = {"DESKBUS_KAFKA": kafka, "DESKBUS_TOPIC_PREFIX": prefix}
    overrides = {name: value for name, value in options.items() if value is not None}
    variables = {**running.from_file(running.ENV_FILE), **os.environ, **overrides}
    variables["DESKBUS_KAFKA"] = variables.get("DESKBUS_KAFKA") or _LOCAL
    partitions = catalogue.partitions(variables, LOCAL_PARTITIONS)
    _create(reached(variables), variables.get("DESKBUS_TOPIC_PREFIX", ""), partitions)
    raise typer.Exit(running.run(variables, config, replicas))


@app.command()
def demo(
    plain: Annotated[bool, typer.Option(help="Print lines instead of a live view.")] = False,
    keep: Annotated[bool, typer.Option(help="Keep the topics and databases.")] = False,
) -> None:
    """Simulate customers and agents: tickets are opened, assigned and escalated. Ends with an audit."""
    _in_the_repository("demo")
    from cli.demo.run import run as run_demo

    raise typer.Exit(run_demo(os.environ, settings_of(os.environ), plain=plain or not sys.stdout.isatty(), keep=keep))


@app.command()
def topics(
    kafka: Kafka = _LOCAL,
    prefix: Prefix = "",
    partitions: Annotated[
        int, typer.Option(envvar=catalogue.PARTITIONS_VARIABLE, min=1, help="Partitions of topics that are created.")
    ] = LOCAL_PARTITIONS,
    replication: Replication = None,
) -> None:
    """Create missing topics and correct the configuration of the others."""
    say(_create(at(kafka), prefix, partitions, replication))


@app.command("access")
def give_access(
    kafka: Kafka = _LOCAL,
    prefix: Prefix = "",
    user_prefix: Annotated[str, typer.Option(help="Prefix of every user name: deskbus- for deskbus-ingest.")] = "",
) -> None:
    """Allow Kafka's users what the contracts list, and set the passwords in DESKBUS_KAFKA_PASSWORD_<USER> (SCRAM)."""
    say(connected(access.give(at(kafka), prefix, os.environ, user_prefix=user_prefix)))


def _create(kafka: Connection, prefix: str, partitions: int, replication: int | None = None) -> str:
    report = connected(create_topics(kafka, prefix, partitions, replication))
    lines = [f"{len(report.created)} topics created, {len(report.configured)} reconfigured"]
    if report.other_partitions:
        lines.append(f"number of partitions is not {partitions}, left unchanged: {', '.join(report.other_partitions)}")
    return "\n".join(lines)


@app.command()
def partitions(
    number: Annotated[int, typer.Argument(min=1, help="Partitions of every topic from now on.")],
    to_prefix: Annotated[str, typer.Option(help="Prefix of the new topics.")],
    kafka: Kafka = _LOCAL,
    prefix: Prefix = "",
    replication: Replication = None,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without, nothing is changed.")] = False,
) -> None:
    """Move the stopped installation to new topics with another number of partitions (docs/rebuild.md)."""
    from cli.partitions import move
    from cli.standstill import Refused
    from cli.stores import stores

    connection = at(kafka)

    async def work() -> None:
        with stores() as opened:
            where = {"prefix": prefix, "to_prefix": to_prefix}
            report = await move(connection, opened, **where, partitions=number, replication=replication, apply=apply)
            say("\n".join(report.lines()))

    try:
        connected(work())
    except Refused as refused:
        for reason in refused.reasons:
            say(f"deskbus: {reason}", error=True)
        raise typer.Exit(1) from None


@app.command()
def rebuild(
    service: Annotated[str, typer.Argument(help="ingest, routing, sla or notify.")],
    kafka: Kafka = _LOCAL,
    prefix: Prefix = "",
    former: Annotated[
        list[Path] | None, typer.Option(help="A policy file that was in force before; repeatable.")
    ] = None,
    earlier: Annotated[
        list[str] | None, typer.Option(help="Prefix that the topics had before, oldest first; repeatable.")
    ] = None,
    compare: Annotated[bool, typer.Option(help="Only compare with what the database has now.")] = False,
) -> None:
    """Rebuild a stopped service's empty database from Kafka alone (docs/rebuild.md)."""
    from cli.plans import rebuilding
    from cli.standstill import Refused
    from cli.stores import SETTINGS, stores

    if service not in SETTINGS:
        raise fail(f"cannot be rebuilt: {service}; services: {', '.join(SETTINGS)}")

    connection = at(kafka)

    async def work() -> bool:
        rebuild_it = rebuilding(service, SETTINGS[service]().policy_file, former or ())
        with stores((service,)) as opened:
            report = await rebuild_it(
                opened[service], connection, prefix=prefix, earlier=earlier or (), compare=compare
            )
        say("\n".join(report.lines()))
        return not report.differences and not report.unreadable

    try:
        if not connected(work()):
            raise typer.Exit(1)
    except Refused as refused:
        for reason in refused.reasons:
            say(f"deskbus: {reason}", error=True)
        raise typer.Exit(2) from None
    except (InvalidPolicy, ValueError) as fault:
        raise fail(str(fault)) from None


@checks.command("config")
def check_config(
    folder: Annotated[
        Path, typer.Argument(help="Directory with one YAML file per service.", show_default="deploy/config")
    ] = POLICIES,
) -> None:
    """Check the policy files; prints each fault as file:line: reason."""
    found = list(faults(folder))
    for fault in found:
        say(fault)
    if found:
        raise typer.Exit(1)
    say(f"{folder}: OK")


@app.command()
def audit(
    kafka: Kafka = _LOCAL,
    prefix: Prefix = "",
    settled: Annotated[bool, typer.Option(help="Count unfinished work as a fault.")] = False,
    earlier: Annotated[
        list[str] | None, typer.Option(help="Prefix that the topics had before, oldest first; repeatable.")
    ] = None,
) -> None:
    """Read all topics and report what was lost, duplicated, assigned to two agents or forgotten."""
    collected, connection = Audit(), at(kafka)

    async def feed() -> None:
        for each in (*(earlier or ()), prefix):
            async for record in read(connection, [topic.name for topic in catalogue.TOPICS], prefix=each):
                collected.feed(record)

    connected(feed())
    report = collected.report(SystemClock().now())
    console().print(table.audit_table(report, settled=settled))
    if not report.holds(settled=settled):
        raise typer.Exit(1)


@letters.command("list")
def list_letters(
    service: Service, kafka: Kafka = _LOCAL, prefix: Prefix = "", reason: Reason = None, receipt: Receipt = None
) -> None:
    """List dead letters, oldest first."""
    found = _find(at(kafka), service, Choice(reason, receipt), prefix)
    console().print(table.letters_table(found))
    for count, source, cause in groups(each.letter for each in found):
        say(f"{count:>6}  {clean(source)}  {clean(cause)}")


@letters.command("show")
def show_letter(
    service: Service,
    offset: Annotated[str, typer.Argument(help="The letter, as partition/offset.")],
    kafka: Kafka = _LOCAL,
    prefix: Prefix = "",
) -> None:
    """Show one dead letter in full."""
    found = _find(at(kafka), service, Choice(places=frozenset([offset])), prefix)
    if not found:
        raise fail(
            f"there is no letter {offset} in the dead letters of {service}; expected PARTITION/OFFSET, such as 3/120"
        )
    say("\n".join(table.letter_lines(found[0])))


@letters.command("replay")
def replay(
    service: Service,
    kafka: Kafka = _LOCAL,
    prefix: Prefix = "",
    reason: Reason = None,
    receipt: Receipt = None,
    offset: Offset = None,
    again: Annotated[bool, typer.Option(help="Include letters that were replayed before.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="All letters; required if no other filter is given.")
    ] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the outcome; 0 to not wait.")] = 10.0,
) -> None:
    """Send dead letters back to their service once the fault is fixed, and report the outcome.

    If a letter comes back with a reason that begins with `floor`, its document has given up that event for good.
    """
    if not (reason or receipt or offset or everything):
        raise fail("choose letters with --reason, --receipt, --offset or --all")

    connection = at(kafka)
    found = _find(connection, service, Choice(reason, receipt, frozenset(offset or ())), prefix)
    chosen = [each for each in found if again or not each.replayed]
    unconfirmed = connected(send_back(connection, service, chosen, prefix=prefix))
    skipped = f", {len(found) - len(chosen)} skipped: replayed before" if len(found) > len(chosen) else ""
    say(f"{len(chosen) - len(unconfirmed)} sent to {catalogue.retry(service)}{skipped}")
    if unconfirmed:
        say(f"not confirmed by Kafka: {', '.join(each.place for each in unconfirmed)}", error=True)
    sent = [each.place for each in chosen if each not in unconfirmed]
    came_back = _print_outcome(connection, service, prefix, sent, wait) if sent and wait else False
    if unconfirmed or came_back:
        raise typer.Exit(1)


def _print_outcome(kafka: Connection, service: str, prefix: str, sent: list[str], wait: float) -> bool:
    """Print what became of the letters; return whether any came back."""
    result = connected(outcome(kafka, service, sent, seconds=wait, prefix=prefix))
    if result.handled:
        say(f"{len(result.handled)} handled")
    if result.pending:
        say(f"{len(result.pending)} pending: is {service} running? `dlq list {service}` shows letters that come back")
    for place, found in result.back:
        how = "was refused (its event was given up)" if found.letter.error_type == REFUSED else "came back"
        say(f"{place} {how}, as letter {found.place}: {clean(found.letter.error)}", error=True)
    return bool(result.back)


def _find(kafka: Connection, service: str, choice: Choice, prefix: str) -> list[Found]:
    found = connected(find(kafka, _known(service), choice, prefix=prefix))
    for stray in found.strays:
        say(f"not a dead letter, skipped: {clean(stray)}", error=True)
    return found.letters


@app.command()
def tail(
    kafka: Kafka = _LOCAL,
    prefix: Prefix = "",
    topic: Annotated[list[str] | None, typer.Option(help="Only this topic, e.g. sla; repeatable.")] = None,
    ticket: Annotated[str | None, typer.Option(help="Only this ticket: its id, or the end of it.")] = None,
    begin: Annotated[bool, typer.Option("--from-beginning", help="Start at the beginning instead of the end.")] = False,
) -> None:
    """Follow the topics, one line per event."""
    names = [each.name for each in catalogue.TOPICS if not topic or any(each.name.split(".")[1] == t for t in topic)]
    if not names:
        known = sorted({each.name.split(".")[1] for each in catalogue.TOPICS})
        raise fail(f"unknown topic: {', '.join(topic or ())}; topics: {', '.join(known)}")

    connection = at(kafka)

    async def follow() -> None:
        async for record in read(connection, names, prefix=prefix, follow=True, from_end=not begin):
            described = describe(record)
            if ticket is None or described.subject.endswith(ticket):
                say(str(described))

    try:
        connected(follow())
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _in_the_repository(command: str) -> None:
    """Exit with a message where only the command line is installed: what starts the services is in `deploy/`."""
    if not POLICIES.is_dir():
        raise fail(
            f"{command} starts the services, which needs the repository: clone it, and use `make {command}` there"
        )


def _known(service: str) -> str:
    if service not in catalogue.SERVICES:
        raise fail(f"unknown service: {service}; services: {', '.join(catalogue.SERVICES)}")
    return service


if __name__ == "__main__":
    app(prog_name="deskbus")
