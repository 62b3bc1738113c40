"""The verbs of orlop-runtime on containers: create, start, execute, kill, delete. No keeper: the caller is the parent."""

import json
import os
import select
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from orlop.kernel import cgroups, probe, process, syscalls
from orlop.runtime.hooks import run_hook
from orlop.runtime.oci_state import OciContainer, Store
from orlop.runtime.plan import exec_plan, start_plan
from orlop.runtime.spawn import spawn
from orlop.runtime.steps import StepFailed
from orlop.spec.errors import Conflict, InvalidArgument, StartFailed
from orlop.spec.mounts import Mount
from orlop.spec.runtime import Hook, RuntimeProcess, RuntimeSpec
from orlop.spec.runtime_json import parse_spec

_END_SECONDS = 10
_PARENT = "orlop-runtime"  # of the control groups of containers that name none


@dataclass(frozen=True)
class Started:
    """A process that was started: `master` is its terminal's other end, -1 without."""

    pid: int
    pidfd: int
    master: int = -1


class Runtime:
    """Containers below one root directory."""

    def __init__(self, root: str) -> None:
        self.store = Store(root)

    # --- starting ---

    def create(self, container_id: str, bundle: str) -> tuple[OciContainer, Started]:
        """Make a container whose program waits to be started. Raises StartFailed and leaves nothing when it cannot be."""
        bundle = os.path.abspath(bundle)
        spec = _read_spec(bundle)
        directory = self.store.reserve(container_id)
        with ExitStack() as undo:
            undo.callback(self.store.forget, container_id)
            gate = str(directory / "gate")
            os.mkfifo(gate, 0o600)
            rootfs = os.path.join(bundle, spec.root.path) if spec.root else ""
            if not spec.root or not os.path.isdir(rootfs):
                raise InvalidArgument(f"root.path: {rootfs} is not a directory")
            spec = replace(spec, linux=replace(spec.linux, cgroups_path=_group_path(spec, container_id)))
            layout = cgroups.layout()
            plan = start_plan(
                spec,
                rootfs=(Mount("bind", rootfs, ("rbind",)),),
                mountpoint=rootfs,
                host=probe.probe(),
                layout=layout,
                gate=gate,
            )
            group = cgroups.Cgroup(plan["cgroup"]["path"], layout)
            undo.callback(_remove_group, group)
            group.create()
            group.apply([(file, content) for file, content in plan["cgroup"]["values"]])
            container = OciContainer(
                id=container_id,
                bundle=bundle,
                pid=0,
                start_ticks=0,
                cgroup=group.path,
                created=datetime.now(UTC).isoformat(),
                rootfs=rootfs,
                annotations=dict(spec.annotations),
            )
            started = _Launch(plan, group).run(lambda pid: self._before_pivot(replace(container, pid=pid), spec))
            undo.callback(_end, started)
            container = replace(container, pid=started.pid, start_ticks=process.start_ticks(started.pid) or 0)
            self.store.save(container, spec)
            undo.pop_all()
        return container, started

    def _before_pivot(self, container: OciContainer, spec: RuntimeSpec) -> bytes:
        """Run the hooks of our side; the state that the child's own hooks get."""
        state = json.dumps(self.store.describe(container, "creating")).encode()
        for point, hooks in (("prestart", spec.hooks.prestart), ("createRuntime", spec.hooks.create_runtime)):
            _run_hooks(point, hooks, state)
        return state

    def start(self, container_id: str) -> None:
        """Let a created container's program run."""
        container = self.store.load(container_id)
        if (status := self.store.status(container)) != "created":
            raise Conflict(f"cannot start a container in the {status} state")
        gate = self.store.gate(container_id)
        fd = os.open(gate, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.unlink(gate)
        os.write(fd, b"1")
        os.close(fd)
        spec = self.store.spec(container_id)
        _run_hooks("poststart", spec.hooks.poststart, json.dumps(self.store.describe(container, "running")).encode())

    def execute(self, container_id: str, wanted: RuntimeProcess) -> Started:
        """Start a further process in a running container."""
        container = self.store.load(container_id)
        if (status := self.store.status(container)) not in ("running", "created"):
            raise Conflict(f"cannot exec in a {status} container")
        plan = exec_plan(wanted, spec=self.store.spec(container_id), host=probe.probe())
        target = process.open_pidfd(container.pid, container.start_ticks)
        try:
            return _Launch(plan, container.group.beside(container.pid), target).run(None)
        finally:
            os.close(target)

    # --- ending ---

    def kill(self, container_id: str, number: int, *, everything: bool = False) -> None:
        """Send a signal to the first process, or to every one."""
        container = self.store.load(container_id)
        if everything:
            for pid in container.group.pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            return
        try:
            pidfd = process.open_pidfd(container.pid, container.start_ticks)
        except ProcessLookupError as error:
            raise Conflict("container not running") from error
        try:
            syscalls.pidfd_send_signal(pidfd, number)
        finally:
            os.close(pidfd)

    def delete(self, container_id: str, *, force: bool = False) -> None:
        """Remove what is left of a stopped (or never started) container; with `force` of any."""
        container = self.store.load(container_id)
        status = self.store.status(container)
        if status not in ("stopped", "created") and not force:
            raise Conflict(f"cannot delete container {container_id} that is not stopped: {status}")
        _remove_group(container.group)
        spec = self.store.spec(container_id)
        self.store.forget(container_id)
        with suppress(StepFailed):  # a hook that fails now changes nothing. runtime.md, "Lifecycle"
            _run_hooks("poststop", spec.hooks.poststop, json.dumps(self.store.describe(container, "stopped")).encode())

    def freeze(self, container_id: str, *, frozen: bool) -> None:
        """Stop all processes, or let them go on."""
        container = self.store.load(container_id)
        status, wanted = self.store.status(container), ("running", "created") if frozen else ("paused",)
        if status not in wanted:
            raise Conflict(f"cannot {'pause' if frozen else 'resume'} a container that is {status}")
        container.group.freeze() if frozen else container.group.thaw()


def _read_spec(bundle: str) -> RuntimeSpec:
    try:
        with open(os.path.join(bundle, "config.json"), "rb") as file:
            return parse_spec(file.read())
    except FileNotFoundError as error:
        raise InvalidArgument(f"JSON specification file {bundle}/config.json not found") from error


def _group_path(spec: RuntimeSpec, container_id: str) -> str:
    path = spec.linux.cgroups_path
    if path.count(":") == 2:
        raise InvalidArgument(f"linux.cgroupsPath: {path}: only paths are supported, not systemd's slices")
    return os.path.normpath(f"/{path or f'{_PARENT}/{container_id}'}")


def _run_hooks(point: str, hooks: Sequence[Hook], state: bytes) -> None:
    for hook in hooks:
        run_hook(point, hook.path, hook.args, hook.env, hook.timeout, state)


def _remove_group(group: cgroups.Cgroup) -> None:
    """Kill what is left inside, and remove it with the parent that we made for it."""
    deadline = _END_SECONDS * 100
    while not group.kill() and deadline:
        deadline -= 1
        select.select([], [], [], 0.01)
    while not group.remove() and deadline:  # ended processes leave a little later
        deadline -= 1
        select.select([], [], [], 0.01)
    if os.path.dirname(group.path) == f"/{_PARENT}":
        cgroups.Cgroup(_PARENT, group.layout).remove()  # only when it is empty


def _end(started: Started) -> None:
    with suppress(ProcessLookupError):
        syscalls.pidfd_send_signal(started.pidfd, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(started.pid, 0)


class _Launch:
    """The fork of one process, and the talk with it until it waits at the gate or has executed its program."""

    def __init__(self, plan: Mapping[str, Any], group: cgroups.Cgroup, target_pidfd: int = -1) -> None:
        self._plan, self._group, self._target = dict(plan), group, target_pidfd
        self._master = -1

    def run(self, on_sync: Any) -> Started:
        """Raises StartFailed."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        cgroup_fd = self._group.open()
        with ours:
            try:
                pid, pidfd = spawn(
                    self._plan,
                    theirs.fileno(),
                    enter_cgroup=self._group.enter if cgroup_fd < 0 else None,
                    cgroup_fd=cgroup_fd,
                    target_pidfd=self._target,
                )
            except OSError as error:
                raise StartFailed(f"{self._plan['failure']}: {error.strerror}") from error
            finally:
                theirs.close()
                if cgroup_fd >= 0:
                    os.close(cgroup_fd)
            try:
                self._talk(ours, pid, on_sync)
            except (StartFailed, StepFailed):
                _end(Started(pid, pidfd))
                os.close(pidfd)
                raise
        return Started(pid, pidfd, self._master)

    def _talk(self, report: socket.socket, pid: int, on_sync: Any) -> None:
        while True:
            message, fds, _, _ = socket.recv_fds(report, 65536, 1)
            if message == b"tty":
                self._master = fds[0]
            elif message == b"sync":
                report.send(on_sync(pid))
            elif message in (b"", b"ready"):
                return
            else:
                answer = json.loads(message)
                raise StartFailed(answer["error"], answer["exit_code"])
