"""Values of options: numbers, sizes, durations, mounts, networks, limits. Wordings are those of Docker's own parsers."""

from orlop.cli.command import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from orlop.cli.command import Option
    from orlop.client.documents import Document

TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
DIGITS = "0123456789"


def convert(option: "Option", kind: str, text: str) -> "Any":
    """The value of an option. Raises UsageError that names it."""
    try:
        return CONVERTERS[kind](text)
    except ValueError as error:
        if option[0] == "memory-swap" and text == "-1":
            return -1
        raise bad_value(option, text, str(error)) from None


def bad_value(option: "Option", text: str, reason: str) -> UsageError:
    """The error for a value that cannot be."""
    name, letter = option[:2]
    label = f"-{letter}, --{name}" if letter else f"--{name}"
    return UsageError(f'invalid argument "{text}" for "{label}" flag: {reason}')


def parse_bool(text: str) -> bool:
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def parse_int(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def parse_uint16(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) > 0xFFFF:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


def parse_bytes(text: str) -> int:
    """64m, 1.5g, 1GiB, 100: bytes in powers of 1024."""
    end = next((at for at in range(len(text), 0, -1) if text[at - 1] in DIGITS + "."), 0)
    try:
        number = float(text[:end]) if text[:1] in DIGITS + "." else -1.0
    except ValueError:
        number = -1.0
    if number < 0:
        raise ValueError(f"invalid size: '{text}'")
    suffix = text[end:].strip().lower()
    unit = suffix.removesuffix("b").removesuffix("i") if len(suffix) > 1 else suffix.replace("b", "")
    if unit not in SIZES:
        raise ValueError(f"invalid suffix: '{suffix}'")
    return int(number * SIZES[unit])


def parse_cpus(text: str) -> int:
    """1.5 CPUs in billionths."""
    whole, _, part = text.partition(".")
    if not (whole or part) or not (whole + part).isdecimal():
        raise ValueError(f"failed to parse {text} as a rational number")
    if len(part.rstrip("0")) > 9:
        raise ValueError("value is too precise")
    return int(whole or "0") * 10**9 + int(part[:9].ljust(9, "0"))


def parse_duration(text: str) -> int:
    """1h30m, 500ms: nanoseconds."""
    rest = text.lstrip("+-")
    if rest == "0":
        return 0
    total, sign = 0.0, -1 if text[:1] == "-" else 1
    if not rest:
        raise ValueError(f'time: invalid duration "{text}"')
    while rest:
        number = rest[: len(rest) - len(rest.lstrip(DIGITS + "."))]
        rest = rest[len(number) :]
        unit = rest[: next((at for at, char in enumerate(rest) if char in DIGITS + "."), len(rest))]
        rest = rest[len(unit) :]
        if not number or number.count(".") > 1 or number == ".":
            raise ValueError(f'time: invalid duration "{text}"')
        if not unit:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if unit not in NANOSECONDS:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
        total += float(number) * NANOSECONDS[unit]
    return sign * int(total)


def parse_strings(text: str) -> list[str]:
    return split_csv(text) if text else []


def split_csv(text: str) -> list[str]:
    """The fields of one CSV line; quotes hold commas, a doubled quote is one."""
    fields, field, quoted, at = [], "", False, 0
    while at < len(text):
        char = text[at]
        if quoted and char == '"' and text[at + 1 : at + 2] == '"':
            field += '"'
            at += 1
        elif char == '"' and (quoted or not field):
            quoted = not quoted
        elif char == "," and not quoted:
            fields.append(field)
            field = ""
        else:
            field += char
        at += 1
    if quoted:
        raise ValueError('parse error on line 1: extraneous or missing " in quoted-field')
    return [*fields, field]


def parse_ulimit(text: str) -> "list[Document]":
    """nofile=1024:2048."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    soft_text, colon, hard_text = value.partition(":")
    if ":" in hard_text:
        raise ValueError(f"too many limit value arguments - {value}, can only have up to two, `soft[:hard]`")
    soft = parse_int(soft_text)
    hard = parse_int(hard_text) if colon else soft
    if hard >= 0 and (soft > hard or soft < 0):
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return [{"Name": name, "Soft": soft, "Hard": hard}]


ULIMITS = frozenset(
    ("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss")
    + ("rtprio", "rttime", "sigpending", "stack")
)  # getrlimit(2)


def parse_mount(text: str) -> "list[Document]":
    from orlop.cli.mounts import parse_mount as parse

    return [parse(text)]


def parse_network(text: str) -> "list[Document]":
    from orlop.cli.attachments import parse_network as parse

    return [parse(text)]


def parse_filter(text: str) -> list[str]:
    if "=" not in text:
        raise ValueError("bad format of filter (expected name=value)")
    return [text]


CONVERTERS: "dict[str, Callable[[str], Any]]" = {
    "bool": parse_bool,
    "filter": parse_filter,
    "int": parse_int,
    "uint16": parse_uint16,
    "bytes": parse_bytes,
    "decimal": parse_cpus,
    "duration": parse_duration,
    "strings": parse_strings,
    "ulimit": parse_ulimit,
    "mount": parse_mount,
    "network": parse_network,
}
