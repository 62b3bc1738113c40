"""Which devices a control group of version 2 may use: rules compiled to a program for the kernel. BPF_PROG_TYPE_CGROUP_DEVICE.

`compile_rules` is pure (the daemon calls it); `attach` loads the program and binds it to a group (the keeper calls it).
"""

from __future__ import annotations

import os
import struct

from orlop.kernel import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.spec.runtime import DeviceRule

# Opcodes of struct bpf_insn. linux/bpf.h, linux/bpf_common.h
_LOAD, _AND, _SHIFT_RIGHT, _MOVE, _SET, _EXIT = 0x61, 0x54, 0x74, 0xBC, 0xB4, 0x95
_JUMP_IF, _JUMP_UNLESS, _JUMP_UNLESS_SAME = 0x16, 0x56, 0x5E
_JUMPS = (_JUMP_IF, _JUMP_UNLESS, _JUMP_UNLESS_SAME)
_CONTEXT, _WANTED, _TYPE, _ACCESS, _MAJOR, _MINOR = 1, 1, 2, 3, 4, 5  # registers; r1 starts as struct bpf_cgroup_dev_ctx
_TYPES = {"b": 1, "c": 2}
_BITS = {"m": 1, "r": 2, "w": 4}


def _instruction(opcode: int, target: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("<BBhi", opcode, target | source << 4, offset, immediate)


def compile_rules(rules: Sequence[DeviceRule]) -> bytes:
    """A program that answers as cgroup v1 would after these rules in this order: the last that matches decides."""
    code = [
        _instruction(_LOAD, _TYPE, _CONTEXT, 0),  # u32 access_type: the type in its low half, access bits in the high one
        _instruction(_MOVE, _ACCESS, _TYPE),
        _instruction(_AND, _TYPE, immediate=0xFFFF),
        _instruction(_SHIFT_RIGHT, _ACCESS, immediate=16),
        _instruction(_LOAD, _MAJOR, _CONTEXT, 4),
        _instruction(_LOAD, _MINOR, _CONTEXT, 8),
    ]
    for rule in reversed(rules):
        code.extend(_rule(rule))
        if _matches_all(rule):
            break
    else:
        code.extend(_answer(False))
    return b"".join(code)


def _matches_all(rule: DeviceRule) -> bool:
    return rule.type in ("", "a") and rule.major is None and rule.minor is None and set(rule.access or "rwm") >= set("rwm")


def _answer(allow: bool) -> list[bytes]:
    return [_instruction(_SET, 0, immediate=int(allow)), _instruction(_EXIT)]


def _rule(rule: DeviceRule) -> list[bytes]:
    """One rule: tests that jump behind it when it does not match, then its answer."""
    steps: list[tuple[int, int, int, int]] = []  # opcode, target, source, immediate
    if rule.type in _TYPES:
        steps.append((_JUMP_UNLESS, _TYPE, 0, _TYPES[rule.type]))
    for register, number in ((_MAJOR, rule.major), (_MINOR, rule.minor)):
        if number is not None and number >= 0:
            steps.append((_JUMP_UNLESS, register, 0, number))
    bits = sum(_BITS[letter] for letter in set(rule.access or "rwm"))
    if bits != sum(_BITS.values()):  # an allowance must cover every bit that is wanted, a denial hits with one of them
        steps += [(_MOVE, _WANTED, _ACCESS, 0), (_AND, _WANTED, 0, bits)]
        steps.append((_JUMP_UNLESS_SAME, _WANTED, _ACCESS, 0) if rule.allow else (_JUMP_IF, _WANTED, 0, 0))
    answer = _answer(rule.allow)
    behind = len(steps) + len(answer)
    return [
        _instruction(opcode, target, source, behind - index - 1 if opcode in _JUMPS else 0, immediate)
        for index, (opcode, target, source, immediate) in enumerate(steps)
    ] + answer


def attach(directory: str, program: bytes) -> None:
    """Let a program decide on devices in the group, together with those of the groups above it. Raises OSError."""
    group = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        loaded = syscalls.bpf_load_device_program(program)
        try:
            syscalls.bpf_attach_device_program(group, loaded)
        finally:
            os.close(loaded)
    finally:
        os.close(group)
