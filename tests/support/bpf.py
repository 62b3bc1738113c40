"""What the kernel does with a seccomp filter: an interpreter of the instructions that such filters use."""

import struct
from collections.abc import Sequence

AUDIT = {"x86_64": 0xC000003E, "x86": 0x40000003, "aarch64": 0xC00000B7, "arm": 0x40000028}


def run(program: bytes, arch: int, number: int, arguments: Sequence[int] = ()) -> int:
    """The filter's answer (SECCOMP_RET_*) to one system call. linux/seccomp.h, struct seccomp_data."""
    values = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<iIQ6Q", number, arch, 0, *values)
    code = list(struct.iter_unpack("<HBBI", program))
    accumulator = at = 0
    while True:
        kind, true, false, constant = code[at]
        at += 1
        if kind == 0x20:
            accumulator = int.from_bytes(data[constant : constant + 4], "little")
        elif kind == 0x54:
            accumulator &= constant
        elif kind == 0x05:
            at += constant
        elif kind == 0x06:
            return constant
        else:
            holds = {0x15: accumulator == constant, 0x25: accumulator > constant, 0x35: accumulator >= constant}[kind]
            at += true if holds else false
