"""The `orlop` command's entry: as little as possible before the verb is known, and no farewell of the interpreter's own."""

import posix
import sys

from orlop import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

INTERRUPTED = 130  # as a shell says of a program that SIGINT ended
BROKEN_PIPE = 141  # likewise SIGPIPE


def main() -> "NoReturn":
    """Run the command line in sys.argv and leave without tearing the interpreter down (that takes a millisecond)."""
    words = sys.argv[1:]
    try:
        if words in (["--version"], ["-v"]):
            code = print_version()
        else:
            from orlop.cli.dispatch import run

            code = run(words)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        code = BROKEN_PIPE
    except Exception as error:
        if "-D" in words or "--debug" in words:
            raise
        message = f"orlop: internal error: {type(error).__name__}: {error} (orlop -D … shows where)\n"
        posix.write(2, message.encode(errors="surrogateescape"))
        code = 1
    posix._exit(code)


def print_version() -> int:
    posix.write(1, f"Orlop version {__version__}\n".encode())
    return 0
