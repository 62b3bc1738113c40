"""The budget of imports: fast commands load nothing above `_socket` and `_json`. No time is measured here."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
PROBE = """
import sys
sys.path.insert(0, {src!r})
before = set(sys.modules)
from orlop.cli.dispatch import run
run({words!r})
sys.stderr.write("\\n" + "\\n".join(sorted(set(sys.modules) - before)))
"""
# Compiled into the interpreter or small: a tenth of a millisecond at most, all together under half.
CHEAP = {"_socket", "_json", "time", "select", "termios", "binascii", "stat", "_stat"}


def loaded(*words: str) -> set[str]:
    """Modules that a command loads until it finds that there is no daemon."""
    probe = PROBE.format(src=str(ROOT / "src"), words=["-H", "unix:///nosuch", *words])
    done = subprocess.run([PYTHON, "-SEI", "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stderr.rpartition("\n\n")[2].split())


@pytest.mark.parametrize(
    "words",
    [
        ("ps",),
        ("run", "--rm", "--network", "none", "image", "true"),
        ("run", "-d", "-p", "80:80", "-e", "A=1", "-v", "/a:/b", "image"),
        ("exec", "x", "true"),
        ("start", "x"),
        ("stop", "x"),
        ("rm", "-f", "x"),
        ("kill", "x"),
        ("logs", "x"),
        ("images",),
        ("inspect", "-f", "{{.Id}}", "x"),
        ("version",),
        ("stats", "--no-stream", "x"),
        ("cp", "x:/a", "."),
    ],
)
def test_only_orlop_and_the_cheapest_is_imported(words: tuple[str, ...]) -> None:
    foreign = {name for name in loaded(*words) if not name.startswith("orlop")}
    assert foreign <= CHEAP


@pytest.mark.parametrize(
    ("words", "most"),
    [(("ps",), 13), (("run", "--network", "none", "image", "true"), 13), (("exec", "x", "true"), 13), (("rm", "x"), 13)],
)
def test_few_of_our_own_modules_are_needed(words: tuple[str, ...], most: int) -> None:
    own = {name for name in loaded(*words) if name.startswith("orlop")}
    assert (
        len(own - {"orlop.cli.daemon", "orlop.cli.files", "orlop.cli.credentials"}) <= most
    )  # these only say that nobody listens
    assert not {name for name in own if name.startswith("orlop.spec")}


def test_the_version_costs_nothing() -> None:
    command = [PYTHON, "-SEI", "-X", "importtime", str(ROOT / "scripts/orlop"), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Orlop version ")
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert {name for name in names if name.startswith("orlop")} == {"orlop", "orlop.cli", "orlop.cli.main"}
    assert not names & {"_socket", "_json", "os", "re"}
