"""Restart policies: whether a container that ended starts again, and how long to wait before. Pure; moby's restart manager."""

from orlop.spec.container import ContainerRecord, RestartPolicy

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 60.0
STABLE_SECONDS = 10.0  # whoever ran for this long starts over with the first delay


def next_delay(previous_seconds: float, ran_seconds: float) -> float:
    """The wait before the next start: doubled at each end that comes soon, up to a minute."""
    if ran_seconds >= STABLE_SECONDS or previous_seconds <= 0:
        return FIRST_DELAY_SECONDS
    return min(previous_seconds * 2, LONGEST_DELAY_SECONDS)


def restarts_after_end(record: ContainerRecord, exit_code: int, *, stopped_by_user: bool) -> bool:
    """Whether the policy wants it to start again after it ended with this code."""
    return _wants(record.spec.restart, exit_code, record.restart_count, stopped_by_user)


def restarts_with_daemon(record: ContainerRecord) -> bool:
    """Whether a container that is down when the daemon starts is started: `always` even when the user had stopped it."""
    if not record.started_ns:
        return False
    return _wants(record.spec.restart, record.exit_code, record.restart_count, record.stopped_by_user)


def _wants(policy: RestartPolicy, exit_code: int, restart_count: int, stopped_by_user: bool) -> bool:
    match policy.name:
        case "always":
            return True
        case "unless-stopped":
            return not stopped_by_user
        case "on-failure":
            within = not policy.maximum_retries or restart_count < policy.maximum_retries
            return exit_code != 0 and within
    return False
