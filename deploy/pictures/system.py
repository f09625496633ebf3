"""The system in one picture: who writes to whom. Names come from the contracts, channels and sinks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contracts.topics import SERVICES, TOPICS
from deploy.pictures import drawing
from deploy.pictures.drawing import FAINT, box, line, text
from services.ingest.channels import CHANNELS
from services.notify.sinks import SINKS

WIDTH, HEIGHT = 1180.0, 590.0
_LEFT, _PITCH, _WIDE = 32.0, 284.0, 264.0
_TOP, _SERVICES, _BUS, _BELOW = 70.0, 216.0, 394.0, 480.0
"""Upper edges of the rows: people, services, Kafka, subscribers."""
PEOPLE = {
    "ingest": ("Customers",),
    "routing": ("Agents' desk", "REST: presence, replies,", "commands, files"),
    "sla": ("Policy files", "one for each service,", "reloaded without a restart"),
    "notify": ("Team leads",),
}
DOES = {
    "ingest": ("verifies, parses, threads;", "sends replies"),
    "routing": ("finds the person by language,", "skills and capacity"),
    "sla": ("runs the clocks, warns,", "announces breaches"),
    "notify": ("escalates until someone", "acknowledges"),
}
_NAMES = {"line": "LINE", "sms": "SMS", "whatsapp": "WhatsApp", "slack": "Slack"}
_RULE = "A message is accepted once Kafka has it. Services learn from events only, and write no database but their own."
_BLUE, _GREEN, _AMBER = "#e7f0fc", "#e8f5ec", "#fdf3dc"
_BLUE_LINE, _GREEN_LINE, _AMBER_LINE = "#3b7dd8", "#3a9b5c", "#c98a00"
_TIP = (
    '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
    f'orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="{FAINT}"/></marker></defs>'
)


def draw() -> str:
    """Return the picture."""
    return drawing.page(WIDTH, HEIGHT, list(_shapes()), "The services of Deskbus around Kafka", defs=_TIP)


def _shapes() -> Iterator[str]:
    yield text(_LEFT, 44, "Every channel becomes tickets, every ticket finds its person in time", size=21, bold=True)
    for number, service in enumerate(SERVICES):
        x = _LEFT + number * _PITCH
        yield from _people(x, service, *PEOPLE[service])
        yield from _service(x, service)
    desk = _LEFT + _PITCH + 60  # the agents' desk also sends its replies to ingest
    yield _arrow(desk, _TOP + 96, _LEFT + _WIDE - 40, _SERVICES)
    yield box(_LEFT, _BUS, WIDTH - 2 * _LEFT, 50, fill=_AMBER, line=_AMBER_LINE)
    yield text(_LEFT + 16, _BUS + 31, "Kafka", size=18, bold=True)
    names = (topic.name.removeprefix("deskbus.").removesuffix(".v1") for topic in TOPICS if topic.name in _OPEN)
    yield text(_LEFT + 92, _BUS + 30, "  ·  ".join(names), size=15)
    yield box(_LEFT, _BELOW, WIDTH - 2 * _LEFT, 50)
    yield text(_LEFT + 16, _BELOW + 31, "Your services", size=17, bold=True)
    yield text(_LEFT + 160, _BELOW + 31, "subscribe to any topic: CloudEvents with JSON Schemas and AsyncAPI", size=15)
    yield _arrow(WIDTH / 2, _BUS + 50, WIDTH / 2, _BELOW)
    yield text(_LEFT, HEIGHT - 22, _RULE, size=15, fill=FAINT)


#: What is neither a dead letter nor tried again.
_OPEN = {topic.name for topic in TOPICS if not topic.name.endswith((".dlq.v1", ".retry.v1"))}


def _people(x: float, service: str, name: str, *about: str) -> Iterator[str]:
    channels = {channel.CHANNEL for channel in CHANNELS.values()}
    reached = {"ingest": channels, "notify": set(SINKS)}.get(service, set())
    yield box(x, _TOP, _WIDE, 96)
    yield text(x + 16, _TOP + 30, name, size=17, bold=True)
    for number, said in enumerate(about or _wrapped([_NAMES.get(each, each) for each in sorted(reached)])):
        yield text(x + 16, _TOP + 54 + 20 * number, said, size=15, fill=FAINT)
    if service != "sla":  # policies are read by all services
        yield _arrow(x + _WIDE / 2, _TOP + 96, x + _WIDE / 2, _SERVICES, both=True)


def _service(x: float, service: str) -> Iterator[str]:
    yield box(x, _SERVICES, _WIDE, 128, fill=_BLUE, line=_BLUE_LINE)
    yield text(x + 16, _SERVICES + 30, service, size=19, bold=True)
    for number, does in enumerate(DOES[service]):
        yield text(x + 16, _SERVICES + 54 + 20 * number, does, size=15, fill=FAINT)
    yield box(x + 16, _SERVICES + 90, 128, 26, fill=_GREEN, line=_GREEN_LINE, round_by=13)
    yield text(x + 80, _SERVICES + 108, "its own MongoDB", size=13, anchor="middle")
    yield _arrow(x + _WIDE / 2, _SERVICES + 128, x + _WIDE / 2, _BUS, both=True)


def _arrow(x1: float, y1: float, x2: float, y2: float, *, both: bool = False) -> str:
    ends = ' marker-end="url(#tip)"' + (' marker-start="url(#tip)"' if both else "")
    return line(x1, y1, x2, y2, stroke=FAINT, width=1.6, more=ends)


def _wrapped(words: Sequence[str], most: int = 30) -> list[str]:
    """Return the words in lines, separated by commas."""
    found: list[str] = []
    for word in words:
        if found and len(found[-1]) + len(word) + 2 <= most:
            found[-1] += f", {word}"
        else:
            found.append(word)
    return found
