"""What a container may be asked to be: Docker's rules and wordings, as checks on a ContainerSpec that raise InvalidArgument."""

import os
import posixpath
import re
import signal
from collections.abc import Iterable
from dataclasses import replace

from orlop.spec.container import ContainerSpec, HealthSpec, LogSpec, ProcessDefaults, RestartPolicy
from orlop.spec.errors import InvalidArgument, NotSupported
from orlop.spec.resources import Resources

MINIMUM_MEMORY = 6 * 1024 * 1024
MINIMUM_HEALTH_NS = 1_000_000
HOSTNAME_LENGTH = 64
LOG_DRIVERS = ("json-file", "local", "none")
LOG_OPTIONS = frozenset(
    ("max-size", "max-file", "labels", "labels-regex", "env", "env-regex", "tag", "compress", "mode", "max-buffer-size")
)
RESTART_POLICIES = ("no", "always", "on-failure", "unless-stopped")
_SIZES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def check_spec(spec: ContainerSpec) -> tuple[str, ...]:
    """Check all that can be told without looking at other objects; gives the warnings."""
    _check_supported(spec)
    if len(spec.hostname) > HOSTNAME_LENGTH:
        raise InvalidArgument(f'hostname "{spec.hostname}" is too long (maximum {HOSTNAME_LENGTH} bytes)')
    check_process(spec.process)
    check_restart(spec.restart)
    if spec.auto_remove and spec.restart.name not in ("", "no"):
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")
    for check in (_check_modes, _check_extra_hosts, _check_network):
        check(spec)
    if not -1000 <= spec.oom_score_adj <= 1000:
        raise InvalidArgument(f"Invalid value {spec.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    if spec.shm_size_bytes < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    for target in spec.tmpfs:
        _check_target(target, "tmpfs")
    check_log(spec.log)
    check_resources(spec.resources)
    return _warnings(spec)


def _check_supported(spec: ContainerSpec) -> None:
    """Refuse by name what no wall here can do. An option is never ignored in silence."""
    refused: dict[str, bool] = {
        f"isolation {spec.isolation}": spec.isolation not in ("", "default", "process"),
        f"runtime {spec.runtime}": spec.runtime not in ("", "orlop", "runc", "io.containerd.runc.v2"),
        f"--userns {spec.user_namespace_mode}": spec.user_namespace_mode not in ("", "host"),
        f"--storage-opt {next(iter(spec.storage_options), '')}": bool(spec.storage_options),
    }
    for option, is_refused in refused.items():
        if is_refused:
            raise NotSupported(f"{option} is not supported")
    if spec.resources.device_requests:
        request = spec.resources.device_requests[0]
        wanted = " ".join(f"[{' '.join(group)}]" for group in request.capabilities)
        raise NotSupported(f'could not select device driver "{request.driver}" with capabilities: [{wanted}]')


def check_process(process: ProcessDefaults) -> None:
    """Working directory, environment, signal and health check."""
    if process.working_dir and not process.working_dir.startswith("/"):
        raise InvalidArgument(f"the working directory '{process.working_dir}' is invalid, it needs to be an absolute path")
    if process.stop_signal:
        signal_number(process.stop_signal)
    for variable in process.env:
        if not variable or variable.startswith("="):
            raise InvalidArgument(f"invalid environment variable: {variable}")
    for target in process.volumes:
        _check_target(target, "volume")
    for port in process.exposed_ports:
        check_port(port)
    if process.healthcheck:
        _check_health(process.healthcheck)


def _check_health(health: HealthSpec) -> None:
    durations = {
        "Interval": health.interval_ns, "Timeout": health.timeout_ns,
        "StartPeriod": health.start_period_ns, "StartInterval": health.start_interval_ns,
    }  # fmt: skip
    for name, value in durations.items():
        if value and value < MINIMUM_HEALTH_NS:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
    if health.retries < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")
    if health.test and health.test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise InvalidArgument(f'invalid health check: unknown type "{health.test[0]}" (expected NONE, CMD or CMD-SHELL)')


def check_port(port: str) -> None:
    """ "80/tcp", "80" or "8000-8010/udp"."""
    found = re.fullmatch(r"(\d+)(?:-(\d+))?(?:/(tcp|udp|sctp))?", port)
    if not found or not 0 < int(found[1]) <= int(found[2] or found[1]) < 65536:
        raise InvalidArgument(f'invalid port specification: "{port}"')


def check_restart(policy: RestartPolicy) -> None:
    """A known policy; retries only where they mean something."""
    name, retries = policy.name or "no", policy.maximum_retries
    if name not in RESTART_POLICIES:
        one_of = ", ".join(f"'{known}'" for known in ("no", "always", "unless-stopped", "on-failure"))
        raise InvalidArgument(f"invalid restart policy: unknown policy '{name}'; use one of {one_of}")
    if retries and name != "on-failure":
        reason = "maximum retry count can only be used with 'on-failure'"
        raise InvalidArgument(f"invalid restart policy: {reason}" + (" and cannot be negative" if retries < 0 else ""))
    if retries < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")


def _check_modes(spec: ContainerSpec) -> None:
    """Namespaces: private, of the host, or of another container."""
    modes = (
        ("IPC", spec.ipc_mode, ("", "none", "private", "shareable", "host"), True),
        ("PID", spec.pid_mode, ("", "host", "private"), True),
        ("UTS", spec.uts_mode, ("", "host", "private"), False),
        ("cgroup namespace", spec.cgroup_namespace_mode, ("", "private", "host"), False),
    )
    for name, mode, known, may_join in modes:
        joins = may_join and mode.startswith("container:") and len(mode) > len("container:")
        if mode not in known and not joins:
            raise InvalidArgument(f"invalid {name} mode: {mode}")
    if spec.uts_mode == "host" and spec.hostname:
        raise InvalidArgument("conflicting options: hostname and the UTS mode")


def _check_extra_hosts(spec: ContainerSpec) -> None:
    for entry in spec.extra_hosts:
        name, colon, address = entry.partition(":")
        if not colon or not name or not address:
            raise InvalidArgument(f'bad format for add-host: "{entry}"')
        if address != "host-gateway" and not re.fullmatch(r"[0-9a-fA-F.:\[\]]+", address):
            raise InvalidArgument(f'invalid IP address in add-host: "{address}"')


def _check_network(spec: ContainerSpec) -> None:
    """What cannot go with a shared network namespace."""
    mode = spec.network_mode
    for binding in spec.port_bindings:
        if not 0 < binding.container_port < 65536 or not 0 <= binding.host_port < 65536:
            raise InvalidArgument(f'invalid port specification: "{binding.container_port}/{binding.protocol}"')
    if mode == "host" and spec.links:
        raise InvalidArgument(
            "conflicting options: host type networking can't be used with links. This would result in undefined behavior"
        )
    if not mode.startswith("container:"):
        return
    conflicts: Iterable[tuple[object, str]] = (
        (spec.hostname, "hostname and the network mode"),
        (spec.links, "container type network can't be used with links. This would result in undefined behavior"),
        (spec.dns, "dns and the network mode"),
        (spec.extra_hosts, "custom host-to-IP mapping and the network mode"),
        (spec.mac_address, "mac-address and the network mode"),
        (spec.port_bindings or spec.publish_all_ports, "port publishing and the container type network mode"),
        (spec.process.exposed_ports, "port exposing and the container type network mode"),
    )
    for value, message in conflicts:
        if value:
            raise InvalidArgument(f"conflicting options: {message}")


def _check_target(target: str, kind: str) -> None:
    if not target.startswith("/"):
        raise InvalidArgument(f"invalid mount path: '{target}' mount path must be absolute")
    if posixpath.normpath(target) == "/":
        raise InvalidArgument(f"invalid {kind} specification: destination can't be '/'")


def check_log(log: LogSpec) -> None:
    """A driver and options that are known here."""
    if log.driver and log.driver not in LOG_DRIVERS:
        raise InvalidArgument(f"logger: no log driver named '{log.driver}' is registered")
    for name in log.options:
        if log.driver != "none" and name not in LOG_OPTIONS:
            raise InvalidArgument(f"unknown log opt '{name}' for {log.driver or 'json-file'} log driver")
    log_limits(log)


def log_limits(log: LogSpec) -> tuple[int, int]:
    """Bytes a file and files in all; without options 5 files of 20 MB, 100 MB a container. 0 bytes: unbounded."""
    size, files = log.options.get("max-size", ""), log.options.get("max-file", "")
    if files and (not files.isdecimal() or int(files) < 1):
        raise InvalidArgument(f"invalid log opt max-file={files}: must be a positive number")
    if size == "-1":
        return 0, 1
    if not size:
        return 20_000_000, int(files or 5)
    return parse_size(size, "max-size"), int(files or 1)


def parse_size(text: str, option: str) -> int:
    """ "10m" -> bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt]?)i?b?", text.lower())
    if not found:
        raise InvalidArgument(f"invalid size for {option}: '{text}'")
    return int(float(found[1]) * _SIZES[found[2]])


def check_resources(resources: Resources, *, is_update: bool = False) -> None:
    """Limits within what the kernel takes. The order of the checks is Docker's, so that the same one speaks first."""
    for is_wrong, message in _memory_rules(resources, is_update):
        if is_wrong:
            raise InvalidArgument(message)
    for is_wrong, message in _cpu_rules(resources):
        if is_wrong:
            raise InvalidArgument(message)
    for text, name, path in (
        (resources.cpuset_cpus, "CPUs", "/sys/devices/system/cpu/online"),
        (resources.cpuset_mems, "memory nodes", "/sys/devices/system/node/online"),
    ):
        if text and parse_cpus(text) - (available := _online(path)):
            shown = ",".join(str(number) for number in sorted(available))
            raise InvalidArgument(f"Requested {name} are not available - requested {text}, available: {shown}")
    if resources.blkio_weight and not 10 <= resources.blkio_weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    for limit in resources.ulimits:
        if limit.hard != -1 and (limit.soft > limit.hard or limit.soft == -1):
            raise InvalidArgument(f"ulimit soft limit must be less than or equal to hard limit: {limit.soft} > {limit.hard}")


def _memory_rules(limits: Resources, is_update: bool) -> tuple[tuple[bool, str], ...]:
    memory, swap, reserved = limits.memory_bytes, limits.memory_swap_bytes, limits.memory_reservation_bytes
    swappiness = limits.memory_swappiness
    return (
        (memory != 0 and memory < MINIMUM_MEMORY, "Minimum memory limit allowed is 6MB"),
        (0 < swap < memory, "Minimum memoryswap limit should be larger than memory limit, see usage"),
        (
            not memory and swap > 0 and not is_update,
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ),
        (
            swappiness is not None and not -1 <= swappiness <= 100,
            f"Invalid value: {swappiness}, valid memory swappiness range is 0-100",
        ),
        (0 < reserved < MINIMUM_MEMORY, "Minimum memory reservation allowed is 6MB"),
        (0 < memory < reserved, "Minimum memory limit can not be less than memory reservation limit, see usage"),
    )


def _cpu_rules(limits: Resources) -> tuple[tuple[bool, str], ...]:
    cpus = os.cpu_count() or 1
    nanos, period, quota = limits.cpu_nanos, limits.cpu_period_us, limits.cpu_quota_us
    return (
        (nanos > 0 and period > 0, "Conflicting options: Nano CPUs and CPU Period cannot both be set"),
        (nanos > 0 and quota > 0, "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
        (
            not 0 <= nanos <= cpus * 10**9,
            f"range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available",
        ),
        (
            period != 0 and not 1000 <= period <= 1_000_000,
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        (0 < quota < 1000, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
    )


def parse_cpus(text: str) -> frozenset[int]:
    """ "0-2,7" -> {0, 1, 2, 7}. cpuset(7), "List format"."""
    numbers: set[int] = set()
    for part in text.split(",") if text else ():
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if not found or int(found[2] or found[1]) > 8191:
            raise InvalidArgument(f"Invalid value {text} for cpuset cpus")
        numbers.update(range(int(found[1]), int(found[2] or found[1]) + 1))
    return frozenset(numbers)


def _online(path: str) -> frozenset[int]:
    try:
        with open(path, encoding="ascii") as file:
            return parse_cpus(file.read().strip())
    except FileNotFoundError:
        return frozenset({0})


def signal_number(name: str) -> int:
    """ "KILL", "SIGKILL" or "9" -> 9, also RTMIN+3. Raises InvalidArgument with Docker's wording."""
    bare = name.upper().removeprefix("SIG")
    if bare.isdecimal():
        if not 0 < int(bare) <= signal.SIGRTMAX:
            raise InvalidArgument(f"invalid signal: {name}")
        return int(bare)
    found = re.fullmatch(r"RT(MIN|MAX)(?:([+-])(\d+))?", bare)
    if found:
        base, sign = (int(signal.SIGRTMIN), 1) if found[1] == "MIN" else (int(signal.SIGRTMAX), -1)
        number = base + sign * int(found[3] or 0)
        if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
            return number
    try:
        return int(signal.Signals[f"SIG{bare}"])
    except KeyError:
        raise InvalidArgument(f"invalid signal: {name}") from None


def with_defaults(spec: ContainerSpec) -> ContainerSpec:
    """Fill in what Docker fills in when a container is created, so that inspect shows it."""
    resources = spec.resources
    if resources.memory_bytes > 0 and not resources.memory_swap_bytes:
        resources = replace(resources, memory_swap_bytes=2 * resources.memory_bytes)
    if resources.memory_swappiness == -1:
        resources = replace(resources, memory_swappiness=None)
    return replace(
        spec,
        resources=resources,
        shm_size_bytes=spec.shm_size_bytes or 64 << 20,
        ipc_mode=spec.ipc_mode or "private",
        cgroup_namespace_mode=spec.cgroup_namespace_mode or ("host" if spec.privileged else "private"),
        network_mode=spec.network_mode or ("none" if spec.network_disabled else "default"),
        restart=replace(spec.restart, name=spec.restart.name or "no"),
        log=replace(spec.log, driver=spec.log.driver or "json-file"),
        runtime=spec.runtime or "orlop",
    )


def _warnings(spec: ContainerSpec) -> tuple[str, ...]:
    rules: tuple[tuple[object, str], ...] = (
        (
            spec.resources.oom_kill_disable and not spec.resources.memory_bytes,
            "OOM killer is disabled for the container, but no memory limit is set, "
            "this can result in the system running out of resources.",
        ),
        (
            spec.network_mode == "host" and spec.port_bindings,
            "Published ports are discarded when using host network mode",
        ),
        (
            spec.network_mode in ("", "default", "bridge") and spec.links,
            "Links on the default bridge network are deprecated and will be removed in a future release. "
            "Use a custom network instead.",
        ),
        (
            spec.resources.kernel_memory_bytes,
            "Specifying a kernel memory limit is deprecated and will be removed in a future release.",
        ),
    )
    return tuple(message for applies, message in rules if applies)
