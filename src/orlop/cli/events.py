"""`orlop events`."""

from orlop.cli.command import TEMPLATE_HELP, Command
from orlop.cli.render import filters
from orlop.cli.times import BILLION, moment, rfc3339_nano
from orlop.client import system
from orlop.client.documents import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cli.command import Arguments
    from orlop.cli.session import Session
    from orlop.client.documents import Document


def events(session: "Session", arguments: "Arguments") -> int:
    from orlop.cli.session import Failure
    from orlop.cli.templates import Template

    format = arguments.text("format")
    template = Template(format, complaint="Error parsing format") if format not in ("", "json") else None
    try:
        since, until = (moment(arguments.text(name)) if arguments.text(name) else "" for name in ("since", "until"))
    except ValueError as error:
        raise Failure(f"Error response from daemon: {error}") from None
    response = system.events(session.client, since=since, until=until, filters=filters(arguments.many("filter")))
    for event in response.documents():
        if format == "json":
            session.out(f"{dumps(event)}\n")
        else:
            session.out(f"{template.render(_with_go_names(event)) if template else event_line(event)}\n")
    return 0


def _with_go_names(event: "Document") -> "Document":
    """Go's fields Time and TimeNano are JSON's time and timeNano."""
    return {"Time": event.get("time"), "TimeNano": event.get("timeNano"), "Scope": event.get("scope"), **event}


def event_line(event: "Document") -> str:
    """2026-… container start ID (image=x, name=y)"""
    nanoseconds = event.get("timeNano") or event.get("time", 0) * BILLION
    when = rfc3339_nano(nanoseconds // BILLION, nanoseconds % BILLION)
    attributes = ", ".join(f"{name}={value}" for name, value in sorted((event["Actor"].get("Attributes") or {}).items()))
    return f"{when} {event['Type']} {event['Action']} {event['Actor']['ID']}" + (f" ({attributes})" if attributes else "")


COMMANDS = {
    "events": Command(
        events,
        "Get real time events from the server",
        "[OPTIONS]",
        (0, 0),
        (
            ("filter", "f", "filter", "Filter output based on conditions provided"),
            ("format", "", "string", TEMPLATE_HELP),
            ("since", "", "string", "Show all events created since timestamp"),
            ("until", "", "string", "Stream events until this timestamp"),
        ),
        examples=("orlop events --filter type=container --since 10m",),
    ),
}
