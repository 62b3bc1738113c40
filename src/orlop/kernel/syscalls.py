"""System calls that Python's `os` lacks: the only module that uses ctypes.

Each function is named and ordered as in the manual pages (section 2). A failure is an OSError whose `strerror` names the call
("mount: Operation not permitted") and whose `filename` is what it was called on. Flags keep the kernel's names.

Import-light on purpose (the keeper and the container's first process import it). x86_64 and aarch64.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    StrPath = str | bytes | os.PathLike[str]

_libc = ctypes.CDLL(None, use_errno=True)
_libc_holding_gil = ctypes.PyDLL(None, use_errno=True)

_int, _uint, _long, _ulong, _text = ctypes.c_int, ctypes.c_uint, ctypes.c_long, ctypes.c_ulong, ctypes.c_char_p
_bytes = ctypes.c_char_p  # a struct, packed; NUL bytes inside are fine, for the kernel knows its length

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100

CLONE_NEWTIME, CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x80, 0x20000, 0x2000000, 0x4000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x8000000, 0x10000000, 0x20000000, 0x40000000
CLONE_PIDFD, CLONE_PARENT, CLONE_INTO_CGROUP = 0x1000, 0x8000, 0x200000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_SYNCHRONOUS, MS_REMOUNT, MS_MANDLOCK, MS_DIRSYNC = 1, 2, 4, 8, 16, 32, 64, 128
MS_NOSYMFOLLOW, MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_MOVE, MS_REC, MS_SILENT = 256, 1024, 2048, 4096, 8192, 16384, 32768
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20
MS_RELATIME, MS_I_VERSION, MS_STRICTATIME, MS_LAZYTIME = 1 << 21, 1 << 23, 1 << 24, 1 << 25
MNT_FORCE, MNT_DETACH, UMOUNT_NOFOLLOW = 1, 2, 8

MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
MOUNT_ATTR_NOATIME, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME = 0x10, 0x20, 0x70
MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_IDMAP, MOUNT_ATTR_NOSYMFOLLOW = 0x80, 0x100000, 0x200000
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 4, 0x40

RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 1, 2, 4, 8, 16

RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
CLOSE_RANGE_CLOEXEC = 4

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_NAME, PR_CAPBSET_READ, PR_CAPBSET_DROP = 1, 4, 8, 15, 23, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 2, 4

IN_MODIFY, IN_MOVED_TO, IN_CREATE = 0x2, 0x80, 0x100

SECCOMP_FILTER_FLAG_TSYNC, SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1, 2, 4
SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 8, 32

# Calls of which libc has no function: number on x86_64, and on aarch64 (include/uapi/asm-generic/unistd.h).
_NUMBERS = {
    "pivot_root": (155, 41),
    "capget": (125, 90),
    "capset": (126, 91),
    "keyctl": (250, 219),
    "ioprio_set": (251, 30),
    "sched_setattr": (314, 274),
    "renameat2": (316, 276),
    "seccomp": (317, 277),
    "bpf": (321, 280),
    "pidfd_send_signal": (424, 424),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "clone3": (435, 435),
    "close_range": (436, 436),
    "openat2": (437, 437),
    "pidfd_getfd": (438, 438),
    "mount_setattr": (442, 442),
}
_COLUMN = {"x86_64": 0, "aarch64": 1}[os.uname().machine]


def _bind(name: str, *argtypes: type, library: ctypes.CDLL = _libc) -> Callable[..., int]:
    """A function of libc, or else the raw call, that raises OSError when it answers -1.

    The keyword `on` names the object for the error.
    """
    number = (_NUMBERS[name][_COLUMN],) if name in _NUMBERS else ()
    function = library["syscall" if number else name]
    function.argtypes, function.restype = ((_long,) if number else ()) + argtypes, _long if number else _int

    def call(*args: object, on: StrPath | int | None = None) -> int:
        result: int = function(*number, *args)
        if result < 0:
            raise _error(name, on)
        return result

    return call


def _error(name: str, on: StrPath | int | None) -> OSError:
    number = ctypes.get_errno()
    message = f"{name}: {os.strerror(number)}"
    return OSError(number, message) if on is None else OSError(number, message, on if isinstance(on, int) else os.fsdecode(on))


_mount = _bind("mount", _text, _text, _text, _ulong, _text)
_umount2 = _bind("umount2", _text, _int)
_pivot_root = _bind("pivot_root", _text, _text)
_unshare = _bind("unshare", _int)
_setns = _bind("setns", _int, _int)
_sethostname = _bind("sethostname", _text, _ulong)
_setdomainname = _bind("setdomainname", _text, _ulong)
_prctl = _bind("prctl", _int, _ulong, _ulong, _ulong, _ulong)
_personality = _bind("personality", _ulong)
_fstatfs = _bind("fstatfs", _int, _bytes)
_syncfs = _bind("syncfs", _int)
_capget = _bind("capget", _bytes, _bytes)
_capset = _bind("capset", _bytes, _bytes)
_keyctl = _bind("keyctl", _int, _text, _long, _long, _long)
_ioprio_set = _bind("ioprio_set", _int, _int, _int)
_sched_setattr = _bind("sched_setattr", _int, _bytes, _uint)
_renameat2 = _bind("renameat2", _int, _text, _int, _text, _uint)
_seccomp = _bind("seccomp", _uint, _uint, _bytes)
_bpf = _bind("bpf", _int, _bytes, _uint)
_pidfd_send_signal = _bind("pidfd_send_signal", _int, _int, _bytes, _uint)
_open_tree = _bind("open_tree", _int, _text, _uint)
_move_mount = _bind("move_mount", _int, _text, _int, _text, _uint)
_clone3 = _bind("clone3", _bytes, _ulong, library=_libc_holding_gil)
_tee = _bind("tee", _int, _int, _ulong, _uint)
_close_range = _bind("close_range", _uint, _uint, _uint)
_openat2 = _bind("openat2", _int, _text, _bytes, _ulong)
_pidfd_getfd = _bind("pidfd_getfd", _int, _int, _uint)
_mount_setattr = _bind("mount_setattr", _int, _text, _uint, _bytes, _ulong)
_inotify_init1 = _bind("inotify_init1", _int)
_inotify_add_watch = _bind("inotify_add_watch", _int, _text, _uint)

_ENCODING = sys.getfilesystemencoding()


def _fsencode(path: StrPath) -> bytes:
    """os.fsencode, in a third of the time for what is almost always a str: a container's start takes a hundred of them."""
    return path.encode(_ENCODING, "surrogateescape") if type(path) is str else os.fsencode(path)


# --- mounts ---


def mount(source: StrPath | None, target: StrPath, fstype: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """mount(2). None where the kernel ignores the argument."""
    _mount(
        None if source is None else _fsencode(source),
        _fsencode(target),
        None if fstype is None else fstype.encode(),
        flags,
        None if data is None else _fsencode(data),
        on=target,
    )


def umount2(target: StrPath, flags: int = 0) -> None:
    """umount(2)."""
    _umount2(_fsencode(target), flags, on=target)


def pivot_root(new_root: StrPath, put_old: StrPath) -> None:
    """pivot_root(2); (".", ".") stacks the old root on the new one, ready for umount2(".", MNT_DETACH)."""
    _pivot_root(_fsencode(new_root), _fsencode(put_old), on=new_root)


def open_tree(dir_fd: int, path: StrPath, flags: int = 0) -> int:
    """A file descriptor of a mount, or with OPEN_TREE_CLONE of a detached copy of it. CLOEXEC."""
    return _open_tree(dir_fd, _fsencode(path), flags | OPEN_TREE_CLOEXEC, on=path)


def move_mount(from_fd: int, from_path: StrPath, to_fd: int, to_path: StrPath, flags: int | None = None) -> None:
    """Attach a (detached) mount. Empty paths mean the descriptors themselves (the flags follow, when None)."""
    if flags is None:
        flags = (0 if from_path else MOVE_MOUNT_F_EMPTY_PATH) | (0 if to_path else MOVE_MOUNT_T_EMPTY_PATH)
    _move_mount(from_fd, _fsencode(from_path), to_fd, _fsencode(to_path), flags, on=to_path)


def mount_setattr(
    dir_fd: int,
    path: StrPath,
    flags: int = 0,
    *,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
) -> None:
    """Change a mount's attributes (MOUNT_ATTR_*), with AT_RECURSIVE of all beneath; an empty path means `dir_fd` itself."""
    how = struct.pack("=4Q", attr_set, attr_clr, propagation, userns_fd)
    _mount_setattr(dir_fd, _fsencode(path), flags | (0 if path else AT_EMPTY_PATH), how, len(how), on=path or dir_fd)


def file_system_type(fd: int) -> int:
    """The magic number of the file system that a descriptor is on. statfs(2)."""
    buffer = ctypes.create_string_buffer(256)
    _fstatfs(fd, buffer, on=fd)
    return int.from_bytes(buffer.raw[: ctypes.sizeof(_long)], "little")


def syncfs(fd: int) -> None:
    """Bring all that was written to the file system of a descriptor onto the disk. syncfs(2)"""
    _syncfs(fd, on=fd)


# --- paths ---


def openat2(dir_fd: int, path: StrPath, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """open(2) with rules on how the path may be walked (RESOLVE_*). Always CLOEXEC."""
    how = struct.pack("=3Q", flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(128):  # EAGAIN: a rename elsewhere raced with the walk; openat2(2) says to retry
        try:
            return _openat2(dir_fd, _fsencode(path), how, len(how), on=path)
        except BlockingIOError:
            continue
    return _openat2(dir_fd, _fsencode(path), how, len(how), on=path)


def renameat2(old_dir_fd: int, old: StrPath, new_dir_fd: int, new: StrPath, flags: int = 0) -> None:
    """rename(2) with RENAME_NOREPLACE, RENAME_EXCHANGE or RENAME_WHITEOUT."""
    _renameat2(old_dir_fd, _fsencode(old), new_dir_fd, _fsencode(new), flags, on=new)


# --- processes and namespaces ---


def clone3(flags: int, *, cgroup_fd: int = -1, exit_signal: int = 17) -> tuple[int, int]:
    """fork(2) into new namespaces: (pid, pidfd) in the parent, (0, -1) in the child.

    With `cgroup_fd` (a directory of cgroup v2) the child is born there. The caller must have one thread only.
    """
    pidfd = ctypes.c_int(-1)
    if cgroup_fd >= 0:
        flags |= CLONE_INTO_CGROUP
    args = struct.pack(
        "=11Q", flags | CLONE_PIDFD, ctypes.addressof(pidfd), 0, 0, 0 if flags & CLONE_PARENT else exit_signal, 0, 0, 0, 0, 0,
        max(cgroup_fd, 0),
    )  # fmt: skip
    pid = _clone3(args, len(args))
    return (pid, pidfd.value) if pid else (0, -1)


def unshare(flags: int) -> None:
    """unshare(2)."""
    _unshare(flags)


def setns(fd: int, flags: int = 0) -> None:
    """setns(2): `fd` is a namespace file, or a pidfd with the CLONE_NEW* of the namespaces to take from that process."""
    _setns(fd, flags, on=fd)


def sethostname(name: str) -> None:
    """sethostname(2)."""
    encoded = name.encode()
    _sethostname(encoded, len(encoded), on=name)


def setdomainname(name: str) -> None:
    """setdomainname(2)."""
    encoded = name.encode()
    _setdomainname(encoded, len(encoded), on=name)


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """prctl(2)."""
    return _prctl(option, arg2, arg3, arg4, arg5, on=f"option {option}")


def set_process_title(title: str) -> None:
    """What ps(1) shows of this process: overwrites its argv, and is cut to that length. proc_pid_stat(5), fields 48 and 49."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b") ")[2].split()
    start, end = int(fields[45]), int(fields[46])
    room = end - start
    ctypes.memmove(start, title.encode()[: room - 1].ljust(room, b"\0"), room)
    name = ctypes.create_string_buffer(title.split()[0].encode()[:15])
    prctl(PR_SET_NAME, ctypes.addressof(name))


def keep_heap(most_bytes: int) -> None:
    """Let malloc keep so much freed memory for the next block, instead of giving it back to the kernel and asking again.

    mallopt(3); nothing happens with another libc than glibc.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt:
        for parameter in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            mallopt(parameter, most_bytes)


def personality(persona: int) -> int:
    """personality(2): the old persona."""
    return _personality(persona)


def close_range(first: int, last: int, flags: int = 0) -> None:
    """Close the descriptors first..last, or with CLOSE_RANGE_CLOEXEC mark them to be closed by execve."""
    _close_range(first, last, flags)


def tee(source_fd: int, target_fd: int, most_bytes: int) -> int:
    """tee(2): let a second pipe have what is in the first, which keeps it. Never blocks: BlockingIOError when there is nothing;
    0 when there is nothing and nobody can write any more."""
    return _tee(source_fd, target_fd, most_bytes, 2)  # SPLICE_F_NONBLOCK


def inotify_init1() -> int:
    """A descriptor (non-blocking, CLOEXEC) from which changes of watched files are read. inotify(7)"""
    return _inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)


def inotify_add_watch(fd: int, path: StrPath, mask: int) -> int:
    """Watch a file or directory; IN_ flags."""
    return _inotify_add_watch(fd, _fsencode(path), mask, on=path)


def join_session_keyring(name: str) -> int:
    """Give this process a session keyring of its own instead of its parent's. keyctl_join_session_keyring(3)."""
    return _keyctl(1, name.encode(), 0, 0, 0, on=name)


def ioprio_set(pid: int, priority: int) -> None:
    """ioprio_set(2) for a process; `priority` is class << 13 | level."""
    _ioprio_set(1, pid, priority)


def sched_setattr(
    policy: int, *, flags: int = 0, nice: int = 0, priority: int = 0, runtime: int = 0, deadline: int = 0, period: int = 0
) -> None:
    """sched_setattr(2) for this process; the times are nanoseconds."""
    attributes = struct.pack("=IIQiIQQQ", 48, policy, flags, nice, priority, runtime, deadline, period)
    _sched_setattr(0, attributes, 0)


# --- pidfds ---


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """kill(2) without the race of a reused pid."""
    _pidfd_send_signal(pidfd, signal, None, 0)


def pidfd_getfd(pidfd: int, target_fd: int) -> int:
    """A duplicate (CLOEXEC) of another process's descriptor."""
    return _pidfd_getfd(pidfd, target_fd, 0, on=target_fd)


_PIDFD_INFO_EXIT = 1 << 3
_PIDFD_INFO = struct.Struct("=QQ11Ii")
_PIDFD_GET_INFO = 0xC000FF0B | _PIDFD_INFO.size << 16  # _IOWR(0xFF, 11, struct pidfd_info), its first version


def pidfd_wait_status(pidfd: int) -> int | None:
    """The wait status of a process that has ended and was reaped, also when it was not our child. linux/pidfd.h.

    None while it lives, and on kernels before 6.15, which do not tell.
    """
    request = _PIDFD_INFO.pack(_PIDFD_INFO_EXIT, *[0] * 13)
    try:
        answer = fcntl.ioctl(pidfd, _PIDFD_GET_INFO, request)
    except OSError:  # ENOTTY: no such ioctl; ESRCH: ended, and the kernel keeps no record
        return None
    mask, *_, exit_code = _PIDFD_INFO.unpack(answer)
    return int(exit_code) if mask & _PIDFD_INFO_EXIT else None


# --- rights ---

_CAPABILITY_VERSION_3 = 0x20080522


def capget() -> tuple[int, int, int]:
    """This process's effective, permitted and inheritable capabilities as bit masks."""
    buffer = ctypes.create_string_buffer(24)
    _capget(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), buffer)
    low_e, low_p, low_i, high_e, high_p, high_i = struct.unpack("=6I", buffer.raw[:24])
    return low_e | high_e << 32, low_p | high_p << 32, low_i | high_i << 32


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set this process's capabilities from bit masks."""
    sets = (effective, permitted, inheritable)
    _capset(
        struct.pack("=Ii", _CAPABILITY_VERSION_3, 0),
        struct.pack("=6I", *(mask & 0xFFFF_FFFF for mask in sets), *(mask >> 32 for mask in sets)),
    )


def seccomp_set_filter(program: bytes, flags: int = 0) -> int:
    """Install a filter (struct sock_filter, packed). The listener's descriptor with NEW_LISTENER, else 0."""
    code = ctypes.create_string_buffer(program, len(program))
    return _seccomp(1, flags, struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))


# --- BPF ---

_BPF_PROG_LOAD, _BPF_PROG_ATTACH, _BPF_PROG_TYPE_CGROUP_DEVICE, _BPF_CGROUP_DEVICE, _BPF_F_ALLOW_MULTI = 5, 8, 15, 6, 2


def bpf_load_device_program(program: bytes) -> int:
    """A descriptor (CLOEXEC) of a program (struct bpf_insn, packed) that decides on devices. bpf(2)."""
    code, license_ = ctypes.create_string_buffer(program, len(program)), ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "=IIQQIIQII16s", _BPF_PROG_TYPE_CGROUP_DEVICE, len(program) // 8, ctypes.addressof(code), ctypes.addressof(license_),
        0, 0, 0, 0, 0, b"orlop_devices",
    )  # fmt: skip
    return _bpf(_BPF_PROG_LOAD, attributes, len(attributes))


def bpf_attach_device_program(cgroup_fd: int, program_fd: int) -> None:
    """Bind such a program to a group of cgroup version 2."""
    attributes = struct.pack("=4I", cgroup_fd, program_fd, _BPF_CGROUP_DEVICE, _BPF_F_ALLOW_MULTI)
    _bpf(_BPF_PROG_ATTACH, attributes, len(attributes))


def has_x32() -> bool:
    """Whether this kernel takes calls of the x32 ABI: getpid, there."""
    return _COLUMN == 0 and int(_libc.syscall(_long(0x4000_0000 + 39))) > 0
