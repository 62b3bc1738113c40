"""Moments as users type them: 10m (ago), 2026-01-31T12:00:00Z, 2026-01-31, 1700000000.5."""

from time import localtime, mktime, time

from orlop.cli.values import parse_duration

DATE = (4, 2, 2)
BILLION = 10**9


def moment(text: str, now: "float | None" = None) -> str:
    """Seconds since the epoch with nine decimals, as the API takes them. Raises ValueError."""
    if not text.strip():
        raise ValueError("value is empty")
    try:
        nanoseconds = int((time() if now is None else now) * BILLION) - parse_duration(text)
        return f"{nanoseconds // BILLION}.{nanoseconds % BILLION:09d}"
    except ValueError:
        pass
    whole, _, part = text.partition(".")
    if whole.isdecimal() and (not part or part.isdecimal()) and "-" not in text:
        return f"{whole}.{part[:9].ljust(9, '0')}" if part else whole
    return _calendar(text)


def _calendar(text: str) -> str:
    """A date, with or without a time and a zone; local time when there is no zone."""
    date, _, clock = text.replace(" ", "T", 1).partition("T")
    clock, offset = _zone(clock)
    clock, _, part = clock.partition(".")
    try:
        year, month, day = (int(field) for field in date.removesuffix("Z").split("-"))
        hour, minute, second = ([int(field) for field in clock.split(":")] + [0, 0, 0])[:3] if clock else (0, 0, 0)
    except ValueError:
        raise ValueError(f'failed to parse value as time or duration: "{text}"') from None
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        raise ValueError(f'parsing time "{text}": out of range')
    if offset is None and not date.endswith("Z"):
        seconds = int(mktime((year, month, day, hour, minute, second, 0, 0, -1)))
    else:
        seconds = _days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - (offset or 0)
    return f"{seconds}.{part[:9].ljust(9, '0')}"


def _zone(clock: str) -> "tuple[str, int | None]":
    """The clock without its zone, and the zone's offset in seconds; None for local time."""
    if clock.endswith("Z"):
        return clock[:-1], 0
    for sign, mark in ((1, "+"), (-1, "-")):
        time_part, found, zone = clock.partition(mark)
        if found:
            hours, _, minutes = zone.partition(":")
            if not (hours + minutes).isdecimal():
                raise ValueError(f'parsing time "{clock}": cannot parse "{zone}" as a zone')
            return time_part, sign * (int(hours) * 3600 + int(minutes or "0") * 60)
    return clock, None


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01, in the Gregorian calendar (Howard Hinnant, chrono-compatible date algorithms)."""
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719468


def rfc3339_nano(seconds: int, nanoseconds: int) -> str:
    """2026-01-31T12:00:00.000000000+01:00 in local time, as Docker prints an event's time."""
    local = localtime(seconds)
    sign, minutes = ("-", -local.tm_gmtoff // 60) if local.tm_gmtoff < 0 else ("+", local.tm_gmtoff // 60)
    zone = "Z" if not minutes else f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"
    clock = f"{local.tm_hour:02d}:{local.tm_min:02d}:{local.tm_sec:02d}"
    return f"{local.tm_year:04d}-{local.tm_mon:02d}-{local.tm_mday:02d}T{clock}.{nanoseconds:09d}{zone}"


def rfc3339(seconds: int) -> str:
    """2026-01-31T12:00:00+01:00 in local time."""
    head, _, tail = rfc3339_nano(seconds, 0).partition(".")
    return head + tail[9:]
