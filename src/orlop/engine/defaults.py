"""A container's process: what the user said over what the image says. Pure; Docker's rules for merging."""

import posixpath
from collections.abc import Iterable
from dataclasses import replace

from orlop.spec.container import HealthSpec, ProcessDefaults
from orlop.spec.errors import InvalidArgument


def merge_process(asked: ProcessDefaults, image: ProcessDefaults) -> ProcessDefaults:
    """Raises InvalidArgument when there is nothing to run."""
    entrypoint, command = asked.entrypoint, asked.command
    if not entrypoint:
        command = command or image.command
        if entrypoint is None:
            entrypoint = image.entrypoint
    if entrypoint == ("",):  # `--entrypoint ""` takes the image's away
        entrypoint = None
    if not entrypoint and not command:
        raise InvalidArgument("no command specified")
    working_dir = asked.working_dir or image.working_dir
    return replace(
        asked,
        user=asked.user or image.user,
        env=merge_env(image.env, asked.env),
        entrypoint=entrypoint or None,
        command=command or None,
        working_dir=posixpath.normpath(working_dir) if working_dir else "",
        labels={**image.labels, **asked.labels},
        exposed_ports=_union(image.exposed_ports, asked.exposed_ports),
        volumes=_union(image.volumes, asked.volumes),
        stop_signal=asked.stop_signal or image.stop_signal,
        stop_timeout_seconds=asked.stop_timeout_seconds
        if asked.stop_timeout_seconds is not None
        else image.stop_timeout_seconds,
        healthcheck=merge_health(asked.healthcheck, image.healthcheck),
        shell=asked.shell or image.shell,
        on_build=asked.on_build or image.on_build,
        args_escaped=asked.args_escaped or image.args_escaped,
    )


def merge_env(base: Iterable[str], over: Iterable[str]) -> tuple[str, ...]:
    """Variables of `base`, replaced by name where `over` has them, then the rest of `over`.

    `NAME` without = stays as a word that takes the variable away when the process starts.
    """
    changed = {variable.partition("=")[0]: variable for variable in over}
    kept = {variable.partition("=")[0]: variable for variable in base}
    return tuple({**kept, **changed}.values())


def merge_health(asked: HealthSpec | None, image: HealthSpec | None) -> HealthSpec | None:
    """The image's check where the user gave none; single settings of the user's over it."""
    if asked is None or image is None:
        return asked or image
    return HealthSpec(
        test=asked.test or image.test,
        interval_ns=asked.interval_ns or image.interval_ns,
        timeout_ns=asked.timeout_ns or image.timeout_ns,
        start_period_ns=asked.start_period_ns or image.start_period_ns,
        start_interval_ns=asked.start_interval_ns or image.start_interval_ns,
        retries=asked.retries or image.retries,
    )


def _union(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))
