#!/usr/bin/env python3
"""A container in fifty lines: a process that is alone in a directory. Usage: tiny_container.py ROOT COMMAND [ARGUMENT...]

Only `orlop.kernel` is used, so each line is one thing that the kernel does. Needs root.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from orlop.kernel import mounts, paths, syscalls

NAMESPACES = (
    syscalls.CLONE_NEWNS  # its own mounts,
    | syscalls.CLONE_NEWPID  # process ids,
    | syscalls.CLONE_NEWNET  # network,
    | syscalls.CLONE_NEWIPC  # shared memory and queues,
    | syscalls.CLONE_NEWUTS  # and name
)


def contain(root: str, command: list[str]) -> None:
    """Become the command, with `root` as all that there is."""
    syscalls.mount(None, "/", None, syscalls.MS_PRIVATE | syscalls.MS_REC)  # what we mount, the host does not see
    mounts.mount_one("bind", root, ("rbind",), root)  # a root must be a mount
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    proc = paths.make_in_root(root_fd, "proc", directory=True)
    syscalls.mount("proc", f"/proc/self/fd/{proc}", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
    os.fchdir(root_fd)
    syscalls.pivot_root(".", ".")  # the old root now lies upon the new one:
    syscalls.umount2(".", syscalls.MNT_DETACH)  # take it away, and the host is gone
    os.chdir("/")
    syscalls.sethostname("tiny")
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.close_range(3, 0xFFFF_FFFF)
    os.execve(command[0], command, {"PATH": "/usr/bin:/bin"})


def main(root: str, *command: str) -> int:
    """Start it, and end as it ends."""
    pid, _pidfd = syscalls.clone3(NAMESPACES)
    if pid == 0:
        contain(root, list(command))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
