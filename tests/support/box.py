"""A container started by plan and spawn alone, without daemon or keeper, on a root of busybox."""

import json
import os
import select
import shutil
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orlop.kernel import probe, seccomp_profile
from orlop.runtime import plan as plans
from orlop.runtime.spawn import spawn
from orlop.spec import bundle
from orlop.spec.container import ContainerRecord, ContainerSpec, ExecSpec, ProcessDefaults
from orlop.spec.mounts import Mount, MountPoint
from orlop.spec.runtime import RuntimeSpec

HOST = probe.probe()
PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n"
GROUP = "root:x:0:\nweb:x:34:\nwheel:x:10:web,root\nvideo:x:44:\n"


def busybox_root(directory: Path) -> Path:
    """A root with busybox's commands, passwd and group."""
    for name in ("bin", "etc", "tmp"):
        (directory / name).mkdir(parents=True)
    directory.chmod(0o755)
    shutil.copy("/bin/busybox", directory / "bin/busybox")
    for name in ("cat", "echo", "env", "grep", "head", "hostname", "id", "ls", "mkdir", "mount", "ps", "pwd", "readlink", "sh", "sleep",
                 "stat", "stty", "sysctl", "test", "touch", "true", "tty", "chmod", "mknod", "kill", "dmesg", "umount"):  # fmt: skip
        (directory / "bin" / name).symlink_to("busybox")
    (directory / "etc/passwd").write_text(PASSWD)
    (directory / "etc/group").write_text(GROUP)
    return directory


@dataclass
class Done:
    """How a process ended. `error` is what init told instead of executing the program."""

    code: int
    output: str
    error: str = ""


class Running:
    """A process of a container. `output()` waits for its end."""

    def __init__(self, plan: dict[str, Any], target_pidfd: int = -1, cgroup_fd: int = -1) -> None:
        self.output_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                stdio = (
                    (null, null, null) if any(step[0] == "terminal" for step in plan["steps"]) else (null, write_fd, write_fd)
                )
                self.pid, self.pidfd = spawn(plan, theirs.fileno(), stdio=stdio, target_pidfd=target_pidfd, cgroup_fd=cgroup_fd)
            os.close(write_fd)
            os.close(null)
            self.error = ""
            while True:
                message, fds, _, _ = socket.recv_fds(ours, 65536, 1)
                if message == b"tty":
                    os.close(self.output_fd)
                    self.output_fd = fds[0]
                    continue
                if message:
                    self.error = json.loads(message)["error"]
                break

    def done(self) -> Done:
        """Wait for the end; 20 seconds at most."""
        output = b""
        while select.select([self.output_fd], [], [], 20)[0]:
            try:
                block = os.read(self.output_fd, 65536)
            except OSError:  # EIO: the terminal's other end is closed
                break
            if not block:
                break
            output += block
        os.close(self.output_fd)
        self.kill()
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.pidfd)
        return Done(code, output.decode(errors="replace"), self.error)

    def kill(self) -> None:
        """End it if it has not ended within a moment."""
        if not select.select([self.pidfd], [], [], 5)[0]:
            os.kill(self.pid, 9)


class Box:
    """Containers on one root. Everything is below `directory`."""

    def __init__(self, directory: Path) -> None:
        self.root = busybox_root(directory / "root")
        self.mountpoint = directory / "mnt"
        self.mountpoint.mkdir()

    def record(
        self, argv: Sequence[str], process: Mapping[str, Any], mounts: tuple[MountPoint, ...], **spec: Any
    ) -> ContainerRecord:
        """What the engine would have written down."""
        return ContainerRecord(
            id="b" * 64,
            name="box",
            spec=ContainerSpec(hostname="box", **spec),
            process=ProcessDefaults(command=tuple(argv), **process),
            image_id="",
            created_ns=0,
            mounts=mounts,
        )

    def spec(
        self,
        *argv: str,
        process: Mapping[str, Any] | None = None,
        mounts: tuple[MountPoint, ...] = (),
        namespaces: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        **spec: Any,
    ) -> RuntimeSpec:
        """The runtime specification that the engine would hand over."""
        record = self.record(argv, process or {}, mounts, **spec)
        granted = bundle.capabilities(record.spec, HOST)
        seccomp = seccomp_profile.chosen(record.spec.security_options, granted, HOST, privileged=record.spec.privileged)
        return bundle.runtime_spec(record, host=HOST, seccomp=seccomp, namespaces=namespaces, files=files)

    def start(self, spec: RuntimeSpec) -> Running:
        """Start it."""
        rootfs = (Mount("bind", str(self.root)),)
        return Running(plans.start_plan(spec, rootfs=rootfs, mountpoint=str(self.mountpoint), host=HOST))

    def run(self, *argv: str, **changes: Any) -> Done:
        """Start it and wait for its end."""
        return self.start(self.spec(*argv, **changes)).done()

    def sh(self, line: str, **changes: Any) -> str:
        """What a shell in a new container prints."""
        done = self.run("sh", "-c", line, **changes)
        assert (done.code, done.error) == (0, ""), done
        return done.output.strip()

    def execute(self, container: Running, spec: RuntimeSpec, *argv: str, **wanted: Any) -> Done:
        """A further process in a running container."""
        process = bundle.exec_process(self.record(("x",), {}, ()), ExecSpec(command=argv, **wanted), HOST)
        return Running(plans.exec_plan(process, spec=spec, host=HOST), container.pidfd).done()


def temporary() -> tuple[Box, tempfile.TemporaryDirectory[str]]:
    """A box in a directory that goes with the second value."""
    directory = tempfile.TemporaryDirectory(prefix="orlop-box-")
    return Box(Path(directory.name)), directory


def with_linux(spec: RuntimeSpec, **changes: Any) -> RuntimeSpec:
    """A specification with other members under `linux`."""
    return replace(spec, linux=replace(spec.linux, **changes))
