"""Times, durations and sizes as Docker writes them. Pure."""

SECOND, MINUTE, HOUR = 1, 60, 3600
DAY, WEEK, MONTH, YEAR = 24, 24 * 7, 24 * 30, 24 * 365  # in hours


def human_duration(seconds: float) -> str:
    """ "2 minutes", "About an hour". docker/go-units, HumanDuration"""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < MINUTE:
        return f"{whole} seconds"
    minutes, hours = whole // MINUTE, int(seconds / HOUR + 0.5)
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    if hours < 2 * DAY:
        return f"{hours} hours"
    for limit, unit, name in ((2 * WEEK, DAY, "days"), (2 * MONTH, WEEK, "weeks"), (2 * YEAR, MONTH, "months")):
        if hours < limit:
            return f"{hours // unit} {name}"
    return f"{hours // YEAR} years"


def human_size(size: float) -> str:
    """1234567 -> "1.235MB": four digits, powers of 1000. docker/go-units, HumanSize"""
    units = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
    step = 0
    while size >= 1000 and step < len(units) - 1:
        size /= 1000
        step += 1
    return f"{size:.4g}{units[step]}"
