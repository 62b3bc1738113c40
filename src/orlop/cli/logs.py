"""`orlop logs`."""

from orlop.cli.command import Command
from orlop.client import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cli.command import Arguments
    from orlop.cli.session import Session


def logs(session: "Session", arguments: "Arguments") -> int:
    from orlop.cli.attached import copy_output

    fields: dict[str, str | bool] = {
        "stdout": True,
        "stderr": True,
        "follow": arguments.flag("follow"),
        "timestamps": arguments.flag("timestamps"),
        "details": arguments.flag("details"),
        "tail": arguments.text("tail"),
        "since": _moment(arguments, "since"),
        "until": _moment(arguments, "until"),
    }
    found = containers.inspect(session.client, arguments.words[0])
    response = containers.logs(session.client, found["Id"], fields)
    pieces = response.pieces()
    copy_output(lambda: next(pieces, b""), tty=bool(found["Config"]["Tty"]))
    return 0


def _moment(arguments: "Arguments", name: str) -> str:
    if not arguments.text(name):
        return ""
    from orlop.cli.session import Failure
    from orlop.cli.times import moment

    try:
        return moment(arguments.text(name))
    except ValueError as error:
        raise Failure(f'invalid value for "{name}": {error}') from None


COMMANDS = {
    "logs": Command(
        logs,
        "Fetch the logs of a container",
        "[OPTIONS] CONTAINER",
        (1, 1),
        (
            ("details", "", "bool", "Show extra details provided to logs"),
            ("follow", "f", "bool", "Follow log output"),
            (
                "since",
                "",
                "string",
                'Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)',
            ),
            ("tail", "n", "string=all", "Number of lines to show from the end of the logs"),
            ("timestamps", "t", "bool", "Show timestamps"),
            (
                "until",
                "",
                "string",
                'Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)',
            ),
        ),
        examples=("orlop logs -f --tail 100 web", "orlop logs --since 10m -t web"),
    ),
}
