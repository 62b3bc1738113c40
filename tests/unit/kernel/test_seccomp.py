"""The compiler of system call filters, against the rules themselves and, where it is installed, against libseccomp."""

import ctypes
import errno
import json
import os
import random
import tempfile
from pathlib import Path

import pytest

from orlop.kernel import seccomp, seccomp_profile
from orlop.spec import bundle
from orlop.spec.errors import InvalidArgument, NotSupported
from orlop.spec.host import Host
from orlop.spec.runtime import Seccomp, SyscallArgument, SyscallRule
from support import bpf

HOST = Host(kernel=(6, 18), capabilities=frozenset(bundle.DEFAULT_CAPABILITIES))
NUMBERS = json.loads(Path(seccomp.__file__).with_name("syscall_numbers.json").read_bytes())
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
EPERM, ENOSYS = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
X86, X32 = "SCMP_ARCH_X86", "SCMP_ARCH_X32"


def default(*capabilities: str) -> Seccomp:
    return seccomp_profile.default_profile((*bundle.DEFAULT_CAPABILITIES, *capabilities), HOST)


def answer(profile: Seccomp, name: str, *arguments: int, arch: str = "x86_64", x32: bool = True) -> int:
    program, _ = seccomp.compiled(profile, "x86_64", x32)
    return bpf.run(program, bpf.AUDIT[arch], NUMBERS[arch][name], arguments)


def rule(name: str, op: str, value: int, two: int = 0, action: str = "SCMP_ACT_ALLOW", index: int = 0) -> SyscallRule:
    return SyscallRule(names=(name,), action=action, args=(SyscallArgument(index=index, op=op, value=value, value_two=two),))


def one(*rules: SyscallRule, architectures: tuple[str, ...] = ()) -> Seccomp:
    return Seccomp(default_action="SCMP_ACT_ERRNO", architectures=architectures, syscalls=rules)


def test_dockers_default_in_a_few_calls() -> None:
    profile = default()
    assert answer(profile, "read") == ALLOW
    assert answer(profile, "mount") == EPERM
    assert answer(profile, "clone3") == ENOSYS
    assert answer(profile, "personality", 0xFFFFFFFF) == ALLOW
    assert answer(profile, "personality", 0x1234) == EPERM
    assert answer(profile, "clone", 0x10000000) == EPERM  # CLONE_NEWUSER
    assert answer(profile, "clone", 0x1200011) == ALLOW
    assert answer(profile, "socket", 40) == EPERM  # AF_VSOCK
    assert answer(profile, "socket", 2) == ALLOW


def test_a_capability_opens_its_calls() -> None:
    profile = default("CAP_SYS_ADMIN")
    assert answer(profile, "mount") == ALLOW
    assert answer(profile, "clone3") == ALLOW
    assert answer(profile, "clone", 0x10000000) == ALLOW


def test_calls_newer_than_the_profile_are_unknown_not_forbidden() -> None:
    program, _ = seccomp.compiled(default(), "x86_64")
    assert bpf.run(program, bpf.AUDIT["x86_64"], 2000) == ENOSYS
    assert bpf.run(program, bpf.AUDIT["x86"], 2000) == ENOSYS


def test_each_architecture_has_its_own_numbers() -> None:
    profile = default()
    assert answer(profile, "read", arch="x86") == ALLOW
    assert answer(profile, "mount", arch="x86") == EPERM
    program, _ = seccomp.compiled(profile, "x86_64")
    assert bpf.run(program, bpf.AUDIT["aarch64"], NUMBERS["aarch64"]["read"]) == KILL
    program, _ = seccomp.compiled(one(SyscallRule(names=("read",), action="SCMP_ACT_ALLOW")), "x86_64")
    assert bpf.run(program, bpf.AUDIT["x86"], NUMBERS["x86"]["read"]) == KILL


def test_x32_calls() -> None:
    number = 0x40000000 + NUMBERS["x32"]["ioctl"]
    with_x32, _ = seccomp.compiled(default(), "x86_64", True)
    assert bpf.run(with_x32, bpf.AUDIT["x86_64"], number) == ALLOW
    assert bpf.run(with_x32, bpf.AUDIT["x86_64"], 0x40000000 + NUMBERS["x32"]["mount"]) == EPERM
    without, _ = seccomp.compiled(default(), "x86_64", False)
    assert bpf.run(without, bpf.AUDIT["x86_64"], number) == ENOSYS
    assert bpf.run(without, bpf.AUDIT["x86_64"], NUMBERS["x86_64"]["read"]) == ALLOW
    native, _ = seccomp.compiled(one(), "x86_64")
    assert bpf.run(native, bpf.AUDIT["x86_64"], number) == KILL


def test_the_arm_profile_too() -> None:
    host = Host(kernel=(6, 1), machine="aarch64", architecture="arm64")
    program, _ = seccomp.compiled(seccomp_profile.default_profile(bundle.DEFAULT_CAPABILITIES, host), "aarch64")
    assert bpf.run(program, bpf.AUDIT["aarch64"], NUMBERS["aarch64"]["openat"]) == ALLOW
    assert bpf.run(program, bpf.AUDIT["aarch64"], NUMBERS["aarch64"]["mount"]) == EPERM
    assert bpf.run(program, bpf.AUDIT["arm"], NUMBERS["arm"]["open"]) == ALLOW
    assert bpf.run(program, bpf.AUDIT["x86_64"], 0) == KILL


HOLDS = {
    "SCMP_CMP_EQ": lambda value, wanted, _: value == wanted,
    "SCMP_CMP_NE": lambda value, wanted, _: value != wanted,
    "SCMP_CMP_LT": lambda value, wanted, _: value < wanted,
    "SCMP_CMP_LE": lambda value, wanted, _: value <= wanted,
    "SCMP_CMP_GT": lambda value, wanted, _: value > wanted,
    "SCMP_CMP_GE": lambda value, wanted, _: value >= wanted,
    "SCMP_CMP_MASKED_EQ": lambda value, mask, wanted: value & mask == wanted,
}
WORDS = (0, 1, 2, 7, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
VALUES = tuple(low | high << 32 for low in WORDS for high in (0, 1, 0x80000000, 0xFFFFFFFF))


@pytest.mark.parametrize("op", HOLDS)
def test_comparisons_of_64_bits(op: str) -> None:
    for wanted in VALUES[::2]:
        two = wanted & 0x1_0000_0003
        program, _ = seccomp.compiled(one(rule("ioctl", op, wanted, two, index=1)), "x86_64")
        for value in VALUES:
            expected = ALLOW if HOLDS[op](value, wanted, two) else EPERM
            assert bpf.run(program, bpf.AUDIT["x86_64"], NUMBERS["x86_64"]["ioctl"], (0, value)) == expected, (value, wanted)


@pytest.mark.parametrize("op", HOLDS)
def test_comparisons_of_32_bits_see_the_low_half_only(op: str) -> None:
    for wanted in WORDS:
        program, _ = seccomp.compiled(one(rule("ioctl", op, wanted, wanted & 3), architectures=(X86,)), "x86_64")
        for value in WORDS:
            expected = ALLOW if HOLDS[op](value, wanted, wanted & 3) else EPERM
            assert bpf.run(program, bpf.AUDIT["x86"], NUMBERS["x86"]["ioctl"], (value,)) == expected


def test_all_conditions_of_a_rule_must_hold_and_one_rule_is_enough() -> None:
    both = SyscallRule(
        names=("ioctl",),
        action="SCMP_ACT_ALLOW",
        args=(SyscallArgument(index=0, op="SCMP_CMP_GE", value=3), SyscallArgument(index=1, op="SCMP_CMP_LT", value=5)),
    )
    profile = one(both, rule("ioctl", "SCMP_CMP_EQ", 100), SyscallRule(names=("ioctl",), action="SCMP_ACT_ERRNO", errno_ret=38))
    assert answer(profile, "ioctl", 3, 4) == ALLOW
    assert answer(profile, "ioctl", 3, 5) == ENOSYS
    assert answer(profile, "ioctl", 2, 4) == ENOSYS
    assert answer(profile, "ioctl", 100, 9) == ALLOW


def test_two_conditions_on_one_argument_are_alternatives() -> None:
    arguments = tuple(SyscallArgument(index=0, op="SCMP_CMP_EQ", value=value) for value in (3, 9))
    profile = one(SyscallRule(names=("ioctl",), action="SCMP_ACT_ALLOW", args=arguments))
    assert [answer(profile, "ioctl", value) for value in (3, 9, 4)] == [ALLOW, ALLOW, EPERM]


def test_scattered_numbers_are_found_in_the_tree() -> None:
    chosen = random.Random(1).sample(sorted(NUMBERS["x86_64"]), 150)
    actions = {name: ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRAP")[index % 3] for index, name in enumerate(chosen)}
    profile = Seccomp(
        default_action="SCMP_ACT_KILL_PROCESS",
        syscalls=tuple(SyscallRule(names=(name,), action=action) for name, action in actions.items()),
    )
    values = {"SCMP_ACT_ALLOW": ALLOW, "SCMP_ACT_LOG": 0x7FFC0000, "SCMP_ACT_TRAP": 0x00030000}
    for name in NUMBERS["x86_64"]:
        assert answer(profile, name) == (values[actions[name]] if name in actions else KILL)


@pytest.mark.parametrize(
    ("profile", "error", "words"),
    [
        (Seccomp(default_action="SCMP_ACT_WHAT"), InvalidArgument, "unknown action SCMP_ACT_WHAT"),
        (one(rule("ioctl", "SCMP_CMP_LIKE", 1)), InvalidArgument, "bad condition SCMP_CMP_LIKE"),
        (one(rule("ioctl", "SCMP_CMP_EQ", 1, index=6)), InvalidArgument, "argument 6"),
        (one(rule("ioctl", "SCMP_CMP_EQ", 1, action="SCMP_ACT_NOTIFY")), NotSupported, "SCMP_ACT_NOTIFY"),
        (Seccomp(default_action="SCMP_ACT_ALLOW", flags=("WHAT",)), NotSupported, "flag WHAT"),
    ],
)
def test_what_is_wrong_in_a_profile_is_named(profile: Seccomp, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        seccomp.compiled(profile, "x86_64")


def test_security_options_choose_the_profile() -> None:
    def chosen(*options: str, privileged: bool = False, default: str = "") -> Seccomp | None:
        return seccomp_profile.chosen(options, (), HOST, privileged=privileged, default=default)

    own = json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "chmod", "action": "SCMP_ACT_ERRNO"}]})
    assert chosen() == chosen("seccomp=builtin") == seccomp_profile.default_profile((), HOST)
    assert chosen("seccomp=unconfined") is None
    assert chosen("seccomp:unconfined") is None
    assert chosen(privileged=True) is None
    assert chosen(default="unconfined") is None
    profile = chosen(f"seccomp={own}")
    assert profile is not None
    assert profile.syscalls[0].names == ("chmod",)
    with pytest.raises(InvalidArgument, match="Decoding seccomp profile failed"):
        chosen("seccomp={")


# --- the independent judge ---

_KNOWN_ERRORS = -1


def _by_libseccomp(profile: Seccomp) -> bytes:
    """The same profile compiled by libseccomp. seccomp_init(3), seccomp_rule_add(3), seccomp_export_bpf(3)."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p

    class Comparison(ctypes.Structure):
        _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))

    ops = {"NE": 1, "LT": 2, "LE": 3, "EQ": 4, "GE": 5, "GT": 6, "MASKED_EQ": 7}
    context = ctypes.c_void_p(library.seccomp_init(EPERM))
    for arch in (0x40000003,):
        assert library.seccomp_arch_add(context, arch) == 0
    for each in profile.syscalls:
        action = ALLOW if each.action == "SCMP_ACT_ALLOW" else ERRNO | (1 if each.errno_ret is None else each.errno_ret)
        for name in each.names:
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number == _KNOWN_ERRORS or action == EPERM:
                continue
            compared = (Comparison * max(1, len(each.args)))(
                *(Comparison(a.index, ops[a.op.removeprefix("SCMP_CMP_")], a.value, a.value_two) for a in each.args)
            )
            library.seccomp_rule_add_array(context, ctypes.c_uint32(action), number, len(each.args), compared)
    with tempfile.TemporaryFile() as file:
        assert library.seccomp_export_bpf(context, file.fileno()) == 0
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        program = file.read()
    library.seccomp_release(context)
    return program


def test_libseccomp_says_the_same() -> None:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("libseccomp.so.2 is not installed")
    profile = default()
    theirs = _by_libseccomp(profile)
    ours, _ = seccomp.compiled(profile, "x86_64", False)
    cases = [(), (0xFFFFFFFF,), (0x20008,), (8,), (0x7E020000,), (0x11,), (40,), (2, 1), (1 << 32,), (16,), (0, 0, 0x20000000)]
    differences = []
    for arch in ("x86_64", "x86"):
        for name, number in NUMBERS[arch].items():
            if library.seccomp_syscall_resolve_name(name.encode()) == _KNOWN_ERRORS:
                continue  # newer than the library
            for arguments in cases:
                if arch == "x86" and (number >= 0x1000 or max((0, *arguments)) >> 32):
                    continue
                pair = [bpf.run(program, bpf.AUDIT[arch], number, arguments) for program in (ours, theirs)]
                if pair[0] != pair[1]:
                    differences.append((arch, name, arguments, *map(hex, pair)))
    assert differences == []
