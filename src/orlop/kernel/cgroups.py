"""Control groups, version 1 and 2: where they are, and the verbs on one group. cgroups(7).

A group is named by one path below every hierarchy ("/orlop/<id>"). On a hybrid host, where version 2 is mounted without
the controllers that matter, version 1 is used. What limits are written to which file is in `limits.py`.
Import-light: the keeper imports this module.
"""

from __future__ import annotations

import errno
import os
import signal

from orlop.kernel import device_filter
from orlop.spec.errors import InvalidArgument, NotSupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CONTROLLERS = {  # of version 1; the other words among a mount's options are flags
    "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "net_cls", "net_prio", "perf_event", "hugetlb",
    "rdma", "misc",
}  # fmt: skip
_NEEDED = {"cpu", "memory", "pids"}  # version 2 is used when it has at least these
_RENAMED = {"blkio/blkio.weight": "blkio/blkio.bfq.weight", "io.weight": "io.bfq.weight"}  # by I/O scheduler
_WAITING = {errno.EINVAL, errno.EBUSY}  # may be accepted once the others are set: limit and limit with swap, quota and period
DEVICES = "devices"  # version 2 has no file for devices: the value is a program (hexadecimal) for device_filter


class Layout:
    """Which version, and where it is mounted. `roots`: controller to mount point on version 1, "" to mount point on 2."""

    __slots__ = ("inheriting", "made", "roots", "version")

    def __init__(self, version: int, roots: dict[str, str]) -> None:
        self.version, self.roots = version, roots
        self.inheriting: set[str] = set()  # paths of parents whose new children have all they need
        self.made: set[str] = set()  # paths of the parents that we had to make


def layout(mountinfo: str | None = None) -> Layout:
    """This host's layout. Raises NotSupported when no usable hierarchy is mounted. proc_pid_mountinfo(5)."""
    if mountinfo is None:
        with open("/proc/self/mountinfo") as file:
            mountinfo = file.read()
    first: dict[str, str] = {}
    second = ""
    for line in mountinfo.splitlines():
        fields, _, tail = line.partition(" - ")
        point, (fstype, _source, options) = fields.split()[4], tail.split(" ", 2)
        if fstype == "cgroup2":
            second = second or point
        elif fstype == "cgroup":
            first |= {name: point for name in options.split(",") if name in _CONTROLLERS}
    if second and (not first or set(_read(f"{second}/cgroup.controllers").split()) >= _NEEDED):
        return Layout(2, {"": second})
    if not first:
        raise NotSupported("no cgroup hierarchy is mounted at /sys/fs/cgroup")
    return Layout(1, first)


class Cgroup:
    """One group in all hierarchies. OSErrors of the kernel come through where not said otherwise."""

    __slots__ = ("_directories", "layout", "path")

    def __init__(self, path: str, layout: Layout) -> None:
        self.path, self.layout = "/" + path.strip("/"), layout
        self._directories = list(dict.fromkeys(root + self.path for root in layout.roots.values()))

    # --- making and removing ---

    def create(self) -> None:
        """Make the group, and its parents where they are missing."""
        for directory in self._directories:
            try:
                os.mkdir(directory)
            except FileExistsError:
                continue
            except FileNotFoundError:
                self._make_parent()
                os.mkdir(directory)
        if self.layout.version == 2:
            self._delegate()
        elif "cpuset" in self.layout.roots:
            self._inherit_cpuset()

    def _make_parent(self) -> None:
        parent = os.path.dirname(self.path)
        Cgroup(parent, self.layout).create()
        self.layout.made.add(parent)
        self.layout.inheriting.discard(parent)

    def _delegate(self) -> None:
        """Each group of version 2 has only the controllers that the one above gives: let all above give all that they have.

        Raises NotSupported where one cannot, for it has processes of its own. cgroups(7), "no internal processes".
        """
        above, group = os.path.dirname(self.path), self.layout.roots[""]
        if above in self.layout.inheriting:
            return
        for name in above.rstrip("/").split("/"):  # the first is "", the root
            group = os.path.join(group, name).rstrip("/")
            given = set(_read(f"{group}/cgroup.subtree_control").split())
            if missing := [name for name in _read(f"{group}/cgroup.controllers").split() if name not in given]:
                _give(group, missing)
        self.layout.inheriting.add(above)

    def _inherit_cpuset(self) -> None:
        """A new cpuset of version 1 is empty, and an empty one takes no process: give it what its parent has.

        Those that are then made below it inherit that by themselves.
        """
        above = os.path.dirname(self.path)
        if above in self.layout.inheriting:
            return
        parent, directory = (self.layout.roots["cpuset"] + path for path in (above, self.path))
        for file in ("cpuset.cpus", "cpuset.mems"):
            if not _read(f"{directory}/{file}").strip():
                _write(f"{directory}/{file}", _read(f"{parent}/{file}").strip())
                _write(f"{directory}/cgroup.clone_children", "1")
        if _read(f"{parent}/cgroup.clone_children").strip() == "1":
            self.layout.inheriting.add(above)

    def exists(self) -> bool:
        """Whether any hierarchy has it."""
        return any(os.path.isdir(directory) for directory in self._directories)

    def remove(self) -> bool:
        """Remove the group and those that its processes made below it. False when some process still is inside."""
        gone = True
        for directory in self._directories:
            for below in _tree(directory):
                try:
                    os.rmdir(below)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    if error.errno != errno.EBUSY:
                        raise
                    gone = False
        return gone

    # --- limits ---

    def file(self, key: str) -> str:
        """The path of a file: "memory/memory.limit_in_bytes" on version 1, "memory.max" on version 2."""
        if self.layout.version == 2:
            return f"{self._directories[0]}/{key}"
        controller, _, name = key.partition("/")
        if controller not in self.layout.roots:
            raise NotSupported(f"cannot set {name}: the cgroup controller {controller} is not mounted")
        return f"{self.layout.roots[controller]}{self.path}/{name}"

    def read(self, key: str) -> str:
        """Content of a file; "" where there is none."""
        controller = key.partition("/")[0]
        known = self.layout.version == 2 or controller in self.layout.roots
        return _read(self.file(key)) if known else ""

    def apply(self, values: Iterable[tuple[str, str]]) -> None:
        """Write limits, as `limits.settings` gives them. Raises InvalidArgument or NotSupported, which name the file."""
        refused: list[tuple[str, str]] = []
        for key, value in values:
            try:
                self._set(key, value)
            except OSError as error:
                if error.errno not in _WAITING:
                    raise _refusal(key, value, error) from error
                refused.append((key, value))
        for key, value in refused:
            try:
                self._set(key, value)
            except OSError as error:
                raise _refusal(key, value, error) from error

    def _set(self, key: str, value: str) -> None:
        if key == DEVICES:
            device_filter.attach(self._directories[0], bytes.fromhex(value))
            return
        try:
            _write(self.file(key), value)
        except FileNotFoundError:
            if key not in _RENAMED:
                raise
            _write(self.file(_RENAMED[key]), value)

    # --- processes ---

    def enter(self) -> None:
        """Move the calling process, which must have one thread only, into the group.

        On version 1 a thread that moves itself through `tasks` spares the kernel the wait (6-10 ms when it was idle) that
        moving another process through `cgroup.procs` costs.
        """
        name = "tasks" if self.layout.version == 1 else "cgroup.procs"
        for directory in self._directories:
            _write(f"{directory}/{name}", "0")

    def attach(self, pid: int) -> None:
        """Move a process with all its threads into the group. May take 10 ms: see `enter`."""
        for directory in self._directories:
            _write(f"{directory}/cgroup.procs", str(pid))

    def open(self) -> int:
        """A descriptor for clone3's CLONE_INTO_CGROUP on version 2; -1 on version 1."""
        return os.open(self._directories[0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if self.layout.version == 2 else -1

    def beside(self, pid: int) -> Cgroup:
        """Where one more process goes when `pid` is the first in this group: here, or on version 2 to the group below this one
        into which that process has moved; then this one may take none any more (systemd divides its group so)."""
        lines = _read(f"/proc/{pid}/cgroup").splitlines() if self.layout.version == 2 else ()
        path = next((line[3:] for line in lines if line.startswith(f"0::{self.path}/")), self.path)
        return Cgroup(path, self.layout)

    def pids(self) -> list[int]:
        """Every process in the group and below it, as this process's pid namespace sees them; sorted."""
        found: set[int] = set()
        for directory in _tree(self._walked):
            found.update(int(word) for word in _read(f"{directory}/cgroup.procs").split())
        return sorted(found - {0})

    @property
    def _walked(self) -> str:
        return next(
            (root + self.path for name in ("pids", "freezer") if (root := self.layout.roots.get(name))), self._directories[0]
        )

    def kill(self) -> bool:
        """SIGKILL to everything inside, so that nothing forks away from it. True when the group was already empty.

        The processes end a little later: call again until it is True.
        """
        pids = self.pids()
        if not pids:
            return True
        try:
            if self.layout.version == 2:
                _write(f"{self._directories[0]}/cgroup.kill", "1")
                return False
        except FileNotFoundError:  # before Linux 5.14
            pass
        self.freeze()
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.thaw()
        return False

    def freeze(self) -> None:
        """Stop every process in the group. It has happened when `frozen` says so."""
        self._freezer("FROZEN", "1")

    def thaw(self) -> None:
        """Let every process in the group go on."""
        self._freezer("THAWED", "0")

    def _freezer(self, first: str, second: str) -> None:
        if self.layout.version == 2:
            _write(self.file("cgroup.freeze"), second)
        else:
            _write(self.file("freezer/freezer.state"), first)

    def frozen(self) -> bool:
        """Whether every process in the group is stopped."""
        if self.layout.version == 2:
            return "frozen 1" in self.read("cgroup.events").splitlines()
        return self.read("freezer/freezer.state").strip() == "FROZEN"

    def oom_kills(self) -> int:
        """How many processes of the group the kernel has killed because memory ran out."""
        text = self.read("memory.events" if self.layout.version == 2 else "memory/memory.oom_control")
        return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)


def _give(directory: str, controllers: Iterable[str]) -> None:
    """Let the groups below a group of version 2 have controllers, but for those that the kernel has a reason against.

    First all at once: alone, one that can part threads is accepted where processes are, and then none may be below.
    """
    if not _enable(directory, " ".join(f"+{name}" for name in controllers)):
        for name in controllers:
            _enable(directory, f"+{name}")


def _enable(directory: str, change: str) -> bool:
    try:
        _write(f"{directory}/cgroup.subtree_control", change)
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.EOPNOTSUPP):
            raise NotSupported(f"no containers can be below the cgroup {directory}: it has processes of its own") from error
        return False
    return True


def _tree(directory: str) -> Iterator[str]:
    """A group's directory and those below it, deepest first."""
    try:
        if os.stat(directory).st_nlink > 2:  # a directory's links: its name, its ".", and the ".." of each below it
            for child in [entry.path for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]:
                yield from _tree(child)
    except FileNotFoundError:
        return
    yield directory


def _refusal(key: str, value: str, error: OSError) -> InvalidArgument:
    name = key.rpartition("/")[2]
    if error.errno == errno.ENOENT:
        return NotSupported(f"cannot set {name}: this kernel has no such control file")
    shown = "" if key == DEVICES else f" to {value}"
    return InvalidArgument(f"cannot set {name}{shown}: {os.strerror(error.errno or 0)}")


def _read(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        blocks = []
        while block := os.read(fd, 65536):
            blocks.append(block)
    except OSError as error:
        if error.errno != errno.ENODEV:  # the group went while we read
            raise
        return ""
    finally:
        os.close(fd)
    return b"".join(blocks).decode()


def _write(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
