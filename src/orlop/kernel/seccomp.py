"""A Seccomp of the OCI runtime specification -> classic BPF, without libseccomp. seccomp(2), seccomp_rule_add(3).

For each architecture, neighbouring numbers with the same outcome are one range, and the ranges are searched by a balanced tree
of comparisons: what the kernel walks through on each call, and once for all numbers when the filter is installed, stays short.

Rules of one call: those with conditions in their order, then the first without. Names that an architecture lacks are skipped.
Calls newer than all that a denying profile names get ENOSYS, as in runc, so that programs fall back instead of failing.
`syscall_numbers.json` is libseccomp's table (src/syscalls.csv); it agrees with the kernel's headers.
"""

import errno
import json
import struct
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from orlop.kernel import syscalls
from orlop.spec.errors import InvalidArgument, NotSupported
from orlop.spec.runtime import Seccomp, SyscallArgument, SyscallRule

# linux/filter.h, linux/bpf_common.h
LOAD, AND, RETURN, JUMP = 0x20, 0x54, 0x06, 0x05
JEQ, JGT, JGE = 0x15, 0x25, 0x35
_NR, _ARCH, _ARGS = 0, 4, 16  # offsets in struct seccomp_data
_FURTHEST = 255  # conditional jumps are one byte
_MOST_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_WORD = 0xFFFF_FFFF

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant
Code = list[Instruction]
Outcome = int | tuple[Instruction, ...]  # an action, or code that ends in one

# linux/seccomp.h; those marked carry data in the low 16 bits
ACTIONS = {
    "SCMP_ACT_KILL": 0x0000_0000,
    "SCMP_ACT_KILL_THREAD": 0x0000_0000,
    "SCMP_ACT_KILL_PROCESS": 0x8000_0000,
    "SCMP_ACT_TRAP": 0x0003_0000,
    "SCMP_ACT_ERRNO": 0x0005_0000,  # with data
    "SCMP_ACT_TRACE": 0x7FF0_0000,  # with data
    "SCMP_ACT_LOG": 0x7FFC_0000,
    "SCMP_ACT_ALLOW": 0x7FFF_0000,
}
_WITH_DATA = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_KILL_PROCESS = ACTIONS["SCMP_ACT_KILL_PROCESS"]
_NO_SUCH_CALL = ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,  # one thread only is there: nothing to synchronise
    "SECCOMP_FILTER_FLAG_LOG": syscalls.SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": syscalls.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
}


class _Architecture(NamedTuple):
    table: str  # in syscall_numbers.json
    audit: int  # AUDIT_ARCH_*, linux/audit.h
    wide: bool  # 64-bit arguments


_X86_64, _X32 = "SCMP_ARCH_X86_64", "SCMP_ARCH_X32"
_X32_BIT = 0x4000_0000
ARCHITECTURES = {
    _X86_64: _Architecture("x86_64", 0xC000_003E, True),
    "SCMP_ARCH_X86": _Architecture("x86", 0x4000_0003, False),
    _X32: _Architecture("x32", 0xC000_003E, True),  # the same audit number: told apart by _X32_BIT of the call's number
    "SCMP_ARCH_AARCH64": _Architecture("aarch64", 0xC000_00B7, True),
    "SCMP_ARCH_ARM": _Architecture("arm", 0x4000_0028, False),
}
NATIVE = {"x86_64": _X86_64, "aarch64": "SCMP_ARCH_AARCH64"}  # uname -m


@lru_cache(maxsize=64)
def compiled(profile: Seccomp, machine: str, x32: bool = True) -> tuple[bytes, int]:
    """The filter (struct sock_filter, packed) and seccomp(2)'s flags. Raises InvalidArgument, NotSupported. Cached.

    Where the kernel knows no `x32` its calls get what the kernel itself would answer, ENOSYS, and need no tree.
    """
    if profile.listener_path or any(rule.action == "SCMP_ACT_NOTIFY" for rule in profile.syscalls):
        raise NotSupported("linux.seccomp: SCMP_ACT_NOTIFY is not supported")
    if unknown := set(profile.flags) - set(FLAGS):
        raise NotSupported(f"linux.seccomp: the flag {min(unknown)} is not supported")
    names = dict.fromkeys((NATIVE[machine], *profile.architectures))
    code = assemble(profile, [name for name in names if name in ARCHITECTURES], x32)
    if len(code) > _MOST_INSTRUCTIONS:
        raise InvalidArgument(f"linux.seccomp: the profile is too large: {len(code)} instructions")
    flags = sum({FLAGS[flag] for flag in profile.flags})
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code), flags


def assemble(profile: Seccomp, architectures: Collection[str], x32: bool = True) -> Code:
    """The filter's instructions, for architectures of which the specification's names are given."""
    trees = {name: _tree(profile, ARCHITECTURES[name]) for name in architectures if x32 or name != _X32}
    if not x32 and _X32 in architectures:
        trees[_X32] = [(RETURN, 0, 0, _NO_SUCH_CALL)]
    code: Code = [(LOAD, 0, 0, _ARCH)]
    for name, tree in trees.items():
        if name == _X32:
            continue
        body = [(LOAD, 0, 0, _NR), *tree]
        if name == _X86_64:
            body = _told_apart(tree, trees.get(_X32))
        code += [(JEQ, 1, 0, ARCHITECTURES[name].audit), (JUMP, 0, 0, len(body)), *body]
    return [*code, (RETURN, 0, 0, _KILL_PROCESS)]


def _told_apart(native: Code, x32: Code | None) -> Code:
    """x86_64 and x32 share an audit number. Without x32 among the architectures its calls are of a foreign one."""
    other = [(AND, 0, 0, _X32_BIT - 1), *x32] if x32 else [(RETURN, 0, 0, _KILL_PROCESS)]
    return [(LOAD, 0, 0, _NR), (JGE, 0, 1, _X32_BIT), (JUMP, 0, 0, len(native)), *native, *other]


def _tree(profile: Seccomp, architecture: _Architecture) -> Code:
    default = _action(profile.default_action, profile.default_errno_ret, "linux.seccomp.defaultAction")
    outcomes = _outcomes(profile.syscalls, _tables()[architecture.table], default, architecture.wide)
    newer = _NO_SUCH_CALL if profile.default_action == "SCMP_ACT_ERRNO" else default
    return _search(_ranges(outcomes, default, newer))


@cache
def _tables() -> Mapping[str, Mapping[str, int]]:
    tables: Mapping[str, Mapping[str, int]] = json.loads(Path(__file__).with_name("syscall_numbers.json").read_bytes())
    return tables


def _action(name: str, data: int | None, where: str) -> int:
    if name not in ACTIONS:
        raise InvalidArgument(f"{where}: unknown action {name}")
    if name not in _WITH_DATA:
        return ACTIONS[name]
    return ACTIONS[name] | (errno.EPERM if data is None else data) & 0xFFFF


def _outcomes(rules: Iterable[SyscallRule], numbers: Mapping[str, int], default: int, wide: bool) -> dict[int, Outcome]:
    """Number -> what is done on that call."""
    plain: dict[int, int] = {}
    conditional: dict[int, Code] = {}
    for rule in rules:
        action = _action(rule.action, rule.errno_ret, f"linux.seccomp.syscalls: {', '.join(rule.names[:3])}")
        for number in (numbers[name] for name in rule.names if name in numbers):
            if not rule.args:
                plain.setdefault(number, action)
                continue
            for arguments in _alternatives(rule.args):
                conditional.setdefault(number, []).extend(_when(arguments, action, wide))
    outcomes: dict[int, Outcome] = dict(plain)
    for number, code in conditional.items():
        outcomes[number] = (*code, (RETURN, 0, 0, plain.get(number, default)))
    return outcomes


def _alternatives(arguments: tuple[SyscallArgument, ...]) -> Iterable[tuple[SyscallArgument, ...]]:
    """Conditions on different arguments must all hold; two on the same one are alternatives, as in runc."""
    if len({argument.index for argument in arguments}) == len(arguments):
        return (arguments,)
    return tuple((argument,) for argument in arguments)


# --- conditions ---

_ELSE = -1  # a jump's target that is still open: the code after all conditions


def _when(arguments: Iterable[SyscallArgument], action: int, wide: bool) -> Code:
    """Return `action` when all conditions hold, else fall through."""
    code: Code = []
    for argument in arguments:
        if argument.op not in COMPARISONS or not 0 <= argument.index <= 5:
            raise InvalidArgument(f"linux.seccomp: bad condition {argument.op} on argument {argument.index}")
        code += COMPARISONS[argument.op](argument, wide)
    code.append((RETURN, 0, 0, action))
    if len(code) > _FURTHEST:
        raise InvalidArgument("linux.seccomp: too many conditions in one rule")
    end = len(code) - 1
    return [
        (kind, end - at if true == _ELSE else true, end - at if false == _ELSE else false, constant)
        for at, (kind, true, false, constant) in enumerate(code)
    ]


def _load(argument: SyscallArgument, *, high: bool) -> Instruction:
    return LOAD, 0, 0, _ARGS + 8 * argument.index + (4 if high else 0)  # little endian


def _equal(argument: SyscallArgument, wide: bool) -> Code:
    code: Code = [_load(argument, high=True), (JEQ, 0, _ELSE, argument.value >> 32 & _WORD)] if wide else []
    return [*code, _load(argument, high=False), (JEQ, 0, _ELSE, argument.value & _WORD)]


def _not_equal(argument: SyscallArgument, wide: bool) -> Code:
    code: Code = [_load(argument, high=True), (JEQ, 0, 2, argument.value >> 32 & _WORD)] if wide else []
    return [*code, _load(argument, high=False), (JEQ, _ELSE, 0, argument.value & _WORD)]


def _masked_equal(argument: SyscallArgument, wide: bool) -> Code:
    """value is the mask, value_two what must be left."""
    code: Code = []
    for high in (True, False) if wide else (False,):
        shift = 32 if high else 0
        mask = argument.value >> shift & _WORD
        code += [_load(argument, high=high), (AND, 0, 0, mask), (JEQ, 0, _ELSE, argument.value_two >> shift & _WORD)]
    return code


def _ordered(jump: int, *, holds_when_true: bool) -> Callable[[SyscallArgument, bool], Code]:
    """>, >= (and <=, < as their opposites): the high halves decide unless they are equal."""

    def compare(argument: SyscallArgument, wide: bool) -> Code:
        high, low = argument.value >> 32 & _WORD, argument.value & _WORD
        last = (jump, 0, _ELSE, low) if holds_when_true else (jump, _ELSE, 0, low)
        code: Code = []
        if wide:
            beyond = (JGT, 3, 0, high) if holds_when_true else (JGT, _ELSE, 0, high)
            below = (JEQ, 0, _ELSE, high) if holds_when_true else (JEQ, 0, 2, high)
            code = [_load(argument, high=True), beyond, below]
        return [*code, _load(argument, high=False), last]

    return compare


COMPARISONS: Mapping[str, Callable[[SyscallArgument, bool], Code]] = {
    "SCMP_CMP_EQ": _equal,
    "SCMP_CMP_NE": _not_equal,
    "SCMP_CMP_MASKED_EQ": _masked_equal,
    "SCMP_CMP_GT": _ordered(JGT, holds_when_true=True),
    "SCMP_CMP_GE": _ordered(JGE, holds_when_true=True),
    "SCMP_CMP_LE": _ordered(JGT, holds_when_true=False),
    "SCMP_CMP_LT": _ordered(JGE, holds_when_true=False),
}


# --- the search ---


def _ranges(outcomes: Mapping[int, Outcome], default: int, newer: int) -> list[tuple[int, Outcome]]:
    """(first number, outcome) of each range, ascending from 0; the last one reaches up to all that is newer."""
    ranges: list[tuple[int, Outcome]] = [(0, default)]
    following = 0
    for number in sorted(outcomes):
        if number > following and ranges[-1][1] != default:
            ranges.append((following, default))
        if ranges[-1][1] != outcomes[number]:
            ranges.append((number, outcomes[number]))
        following = number + 1
    if ranges[-1][1] != newer:
        ranges.append((following, newer))
    return [each for each, after in zip(ranges, [*ranges[1:], (-1, newer)], strict=True) if each[0] != after[0]]


def _search(ranges: list[tuple[int, Outcome]]) -> Code:
    """A balanced tree over the ranges; the number is in the accumulator."""
    if len(ranges) == 1:
        outcome = ranges[0][1]
        return [(RETURN, 0, 0, outcome)] if isinstance(outcome, int) else list(outcome)
    middle = len(ranges) // 2
    low, high = _search(ranges[:middle]), _search(ranges[middle:])
    first = ranges[middle][0]
    if len(low) <= _FURTHEST:
        return [(JGE, len(low), 0, first), *low, *high]
    return [(JGE, 0, 1, first), (JUMP, 0, 0, len(low)), *low, *high]
