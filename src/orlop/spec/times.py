"""Points in time and durations, between text and nanoseconds. Pure but for "ago", which looks at the clock."""

import time
from datetime import UTC, datetime

ZERO_TIME = "0001-01-01T00:00:00Z"  # Go's zero time: never

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def rfc3339(time_ns: int) -> str:
    """Nanoseconds since the epoch as Go writes a time in JSON: UTC, no zeros at the end; 0 is Go's zero time."""
    if not time_ns:
        return ZERO_TIME
    seconds, nanos = divmod(time_ns, 10**9)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{nanos:09d}".rstrip("0") + "Z" if nanos else text + "Z"


def parse_time_ns(text: str) -> int:
    """Seconds since the epoch (also 12.345), RFC 3339, or how long ago (10m), in nanoseconds. Raises ValueError."""
    seconds, dot, fraction = text.partition(".")
    if seconds.lstrip("-").isdecimal() and (not dot or fraction.isdecimal()):
        nanos = int((fraction + "0" * 9)[:9]) if dot else 0
        return int(seconds) * 10**9 + (-nanos if text.startswith("-") else nanos)
    if "-" in text[1:]:
        return _rfc3339_ns(text)
    now = datetime.now(UTC)
    return int(now.timestamp() * 1e9) - parse_duration_ns(text)


def _rfc3339_ns(text: str) -> int:
    """2026-01-02T03:04:05.123456789Z, also without the zone or the time of day; nine digits are kept."""
    head, dot, tail = text.partition(".")
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))] if dot else ""
    moment = datetime.fromisoformat((head + tail[len(digits) :]).replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 10**9 + int((digits + "0" * 9)[:9])


def parse_duration_ns(text: str) -> int:
    """Go's "1h30m", "1.5s", "300ms". Raises ValueError."""
    rest, total = text.removeprefix("-").removeprefix("+"), 0.0
    if rest == "0":
        return 0
    while rest:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        unit = next((unit for unit in ("ns", "us", "µs", "ms", "s", "m", "h") if rest[len(digits) :].startswith(unit)), "")
        if not unit:
            raise ValueError(f"invalid duration {text!r}")
        total += float(digits) * _UNITS[unit]
        rest = rest[len(digits) + len(unit) :]
    return -int(total) if text.startswith("-") else int(total)


def show_duration(nanoseconds: int) -> str:
    """As Go prints a time.Duration: 30s, 1m30s, 1.5s, 500ms."""
    if nanoseconds < 10**9:
        for unit, size in (("ms", 10**6), ("µs", 10**3)):
            if nanoseconds >= size:
                return f"{nanoseconds / size:g}{unit}"
        return f"{nanoseconds}ns" if nanoseconds else "0s"
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    shown = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{shown}{rest / 10**9:g}s"
