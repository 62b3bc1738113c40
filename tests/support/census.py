"""A finer count than `leftovers`: everything on disk, in the kernel and in the processes' tables that belongs to one engine."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from support.engine import PATIENCE, Engine
from support.leftovers import leftovers

BESIDE = re.compile(r"^(new|gone)-")
READY = re.compile(r"^new-\d+-\d+$")  # directories of containers that are kept ready


def census(engine: Engine) -> dict[str, list[str]]:
    """What an engine without containers, volumes and networks of users, and with its images, has. Equal before and after."""
    data, run = engine.data_root, engine.exec_root
    return leftovers(engine) | {
        "pinned": sorted(os.listdir(run / "netns")),
        "snapshots": sorted(path.name for path in (data / "snapshots").iterdir()),
        "recipes": sorted(os.listdir(data / "layers")),
        "blobs": sorted(os.listdir(data / "blobs/sha256")),
        "volumes": sorted(os.listdir(data / "volumes")) if (data / "volumes").exists() else [],
        "partial": sorted(os.listdir(data / "partial")) if (data / "partial").exists() else [],
        "aside": sorted(str(path.relative_to(engine.home)) for path in _aside(engine)),
        "daemon's mounts": _mounts(engine, engine.pid),
        "keeper's mounts": _mounts(engine, engine.keeper_pid),
        "bridges": _links("bridge"),
        "processes": sorted(_processes(engine)),
    }


def settled(engine: Engine, expected: dict[str, list[str]] | None = None, seconds: float = 15) -> dict[str, list[str]]:
    """The census once it equals the expected one; without one, once it rests and no container is left. Fails the test, with the difference, if it does not."""
    deadline, last = time.monotonic() + seconds * PATIENCE, census(engine)
    while time.monotonic() < deadline:
        time.sleep(0.2 if expected else 1.2)
        with suppress(OSError):  # something went while we looked
            now = census(engine)
            if now == (expected or last) and (expected or not (now["containers"] or now["aside"])):
                return now
            last = now
    wanted = expected or {}
    different = {key: _difference(wanted.get(key, []), value) for key, value in last.items() if value != wanted.get(key)}
    raise AssertionError(f"not as before: {different}")


def open_files(pid: int) -> int:
    """How many descriptors a process has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory_kb(pid: int) -> int:
    """Proportional set size of a process."""
    found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def _difference(wanted: list[str], found: list[str]) -> str:
    more = [one for one in found if one not in wanted]
    less = [one for one in wanted if one not in found]
    return f"+{more} -{less}" if more or less else f"{len(wanted)} became {len(found)}"


def _aside(engine: Engine) -> Iterator[Path]:
    """Half-made and half-removed things anywhere below the roots."""
    for root in (engine.data_root, engine.exec_root):
        for directory, directories, files in os.walk(root):
            if directory == str(root / "snapshots"):
                directories[:] = [name for name in directories if BESIDE.match(name)]
            for name in (*directories, *files):
                if BESIDE.match(name) and not READY.match(name):
                    yield Path(directory, name)


def _mounts(engine: Engine, pid: int) -> list[str]:
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return sorted(point for line in lines if (point := line.split()[4]).startswith(f"{engine.home}/"))


def _links(kind: str) -> list[str]:
    shown = subprocess.run(["ip", "-br", "link", "show", "type", kind], capture_output=True, text=True, check=False).stdout
    return sorted(line.split()[0] for line in shown.splitlines())


def _processes(engine: Engine) -> Iterator[str]:
    """Commands of the processes in the engine's cgroups, and of those that were started for it."""
    for root in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()):
        for procs in Path(f"{root}{engine.cgroup_parent}").glob("*/cgroup.procs"):
            for pid in procs.read_text().split():
                with suppress(OSError):
                    yield Path(f"/proc/{pid}/comm").read_text().strip()
