"""A Debian root from its packages: mmdebstrap with the mirrors of this host's apt, then everything taken out that differs from
run to run or that a container does not want."""

import os
import re
import shutil
import signal
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

from orlop.kernel import process
from orlop.spec.errors import InvalidArgument, OrlopError, Unavailable
from orlop.storage.trees import empty_directory, opened

_DEFAULT_MIRROR = "http://deb.debian.org/debian"
_DEFAULT_SUITE = "stable"
_EPOCH = 1_700_000_000  # for what packages write on installation (the days in /etc/shadow)
_WORD = re.compile(r"[a-z0-9][a-z0-9+.:=~-]*")
_VARIANTS = ("minbase", "apt", "buildd", "custom", "essential", "extract", "important", "required", "standard")
_UNWANTED = ("bug", "doc", "info", "lintian", "locale", "man")  # of /usr/share, as in Debian's slim images
_SHOWN_LINES = 5  # of mmdebstrap's output, in an error

# Relative to the root. Of the first, the directories stay.
_WITHOUT_FILES = ("run", "tmp", "var/cache", "var/lib/apt/lists", "var/log", "var/tmp")
_EMPTY = ("dev", "proc", "sys")
_REMOVED = (
    "etc/apt/apt.conf.d/99mmdebstrap", "etc/group-", "etc/gshadow-", "etc/hostname", "etc/passwd-", "etc/resolv.conf",
    "etc/shadow-", "etc/subgid-", "etc/subuid-", "var/lib/dbus/machine-id", "var/lib/dpkg/available-old",
    "var/lib/dpkg/diversions-old", "var/lib/dpkg/statoverride-old", "var/lib/dpkg/status-old", "var/lib/systemd/random-seed",
)  # fmt: skip
_BLANK = ("etc/machine-id",)
_NO_SERVICES = "#!/bin/sh\n# A container starts its one service itself: installing a package starts none.\nexit 101\n"

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An mmdebstrap command without its target, which goes before the mirrors. `shown`: as the image's history has it."""

    suite: str
    options: tuple[str, ...]
    mirrors: tuple[str, ...]
    shown: str


def plan(suite: str, variant: str, packages: Sequence[str]) -> Plan:
    """Decide on the command. Raises InvalidArgument."""
    suite = _codename() if suite == "latest" else suite.removesuffix("-slim")
    for word in (suite, *packages):
        if not _WORD.fullmatch(word):
            raise InvalidArgument(f'invalid name of a suite or package: "{word}"')
    if variant not in _VARIANTS:
        raise InvalidArgument(f'invalid variant "{variant}": known are {", ".join(_VARIANTS)}')
    chosen = (f"--variant={variant}", *((f"--include={','.join(packages)}",) if packages else ()))
    options = (
        *chosen,
        "--mode=root",
        "--format=directory",
        "--skip=cleanup/apt/lists",  # they tell the date of the packages; `strip` removes them
        *(f"--dpkgopt=path-exclude=/usr/share/{directory}/*" for directory in _UNWANTED),
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        '--aptopt=Acquire::Languages "none"',
    )
    return Plan(suite=suite, options=options, mirrors=mirrors(suite), shown=" ".join(("mmdebstrap", *chosen, suite)))


def fill(plan: Plan, root: Path, tell: Tell) -> int:
    """Carry it out below `root`, which does not exist yet. Returns when the packages' index was made, in seconds.

    Raises Unavailable, with what mmdebstrap said last.
    """
    program = shutil.which("mmdebstrap")
    if not program:
        raise Unavailable("cannot make debian: mmdebstrap is missing, install the package mmdebstrap")
    tell(f"Installing {plan.suite} from {plan.mirrors[0].split()[1]}")
    argv = [program, *plan.options, plan.suite, os.fspath(root), *plan.mirrors]
    _run(argv, tell)
    epoch = _index_time(root)
    strip(root)
    return epoch


def mirrors(suite: str) -> tuple[str, ...]:
    """Lines of sources.list: what this host's apt has of the suite; else the suite at the same places; else Debian's own."""
    form = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    try:
        lines = process.run(["apt-get", "indextargets", "--format", form, "Created-By: Packages"]).text.splitlines()
    except OrlopError:  # no apt here
        lines = []
    found = [tuple(line.split("|")) for line in lines if line.count("|") == 3]
    ours = [source for source in found if source[0] == "Debian" or (not source[0] and "/debian" in source[1])]
    same = [f"deb {uri} {release} {component}" for _, uri, release, component in ours if _is_of(release, suite)]
    if not same:
        places = [uri for _, uri, release, _ in ours if "-" not in release and "/" not in release]
        same = [f"deb {uri} {suite} main" for uri in places or [_DEFAULT_MIRROR]]
    return tuple(dict.fromkeys(same))


def _is_of(release: str, suite: str) -> bool:
    """bookworm-updates and bookworm-security are parts of bookworm; backports are not."""
    return release == suite or release in (f"{suite}-updates", f"{suite}-security", f"{suite}/updates")


def _codename() -> str:
    with suppress(OSError):
        lines = Path("/etc/os-release").read_text().splitlines()
        release = {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}
        if release.get("ID") == "debian":
            return release.get("VERSION_CODENAME", _DEFAULT_SUITE)
    return _DEFAULT_SUITE


def _run(argv: Sequence[str], tell: Tell) -> None:
    """Run mmdebstrap and pass on what it says it is doing. It is ended when we are."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": str(_EPOCH)}
    try:
        pid = process.spawn(argv[0], argv, env=env, fds={1: writing, 2: writing})
    finally:
        os.close(writing)
    last: list[str] = []
    code = None
    try:
        with open(reading, encoding="utf-8", errors="replace") as output:
            for line in output:
                last = [*last[1 - _SHOWN_LINES :], line.strip()]
                if line.startswith("I: ") and not line.startswith("I: success"):
                    tell(line[3:].strip().capitalize())
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        if code is None:
            os.killpg(pid, signal.SIGTERM)  # it leads a session of its own, and cleans up
            os.waitpid(pid, 0)
    if code:
        raise Unavailable(f"cannot make debian: {'; '.join(line for line in last if line) or f'mmdebstrap ended with {code}'}")


def _index_time(root: Path) -> int:
    """The date of the newest Release file: no file of a package is younger, and it is the same for the same packages."""
    found = [_EPOCH]
    for path in (root / "var/lib/apt/lists").glob("*Release"):
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("Date: "):
                with suppress(ValueError):
                    found.append(int(parsedate_to_datetime(line[6:]).timestamp()))
                break
    return max(found)


def strip(root: Path) -> None:
    """Take out what differs from run to run, caches, and what the runtime provides."""
    for path in _REMOVED:
        with suppress(FileNotFoundError):
            (root / path).unlink()
    for path in _BLANK:
        (root / path).write_bytes(b"")
    for path in _EMPTY:
        with opened(root / path) as fd:
            empty_directory(fd)
    for path in _WITHOUT_FILES:
        with suppress(FileNotFoundError), opened(root / path) as fd:
            _remove_files(fd)
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text(_NO_SERVICES)
    policy.chmod(0o755)


def _remove_files(fd: int) -> None:
    for name in os.listdir(fd):
        if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            with opened(name, dir_fd=fd) as child:
                _remove_files(child)
        else:
            os.unlink(name, dir_fd=fd)
