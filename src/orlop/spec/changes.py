"""Dockerfile instructions that only change what a container of an image runs as: `commit --change`, `import --change`. Pure."""

import json
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from orlop.spec import words
from orlop.spec.container import HealthSpec, ProcessDefaults
from orlop.spec.errors import InvalidArgument
from orlop.spec.times import parse_duration_ns

_SHELL = ("/bin/sh", "-c")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")
_LEAST_DURATION_NS = 10**6  # of a health check's times; moby, MinimumDuration
_HEALTH_FLAGS = {
    "--interval": "interval_ns",
    "--timeout": "timeout_ns",
    "--start-period": "start_period_ns",
    "--start-interval": "start_interval_ns",
}


@dataclass(frozen=True, slots=True)
class _State:
    """What the lines up to now have made, and whether one of them was a CMD (an ENTRYPOINT resets an inherited command)."""

    process: ProcessDefaults
    command_given: bool = False

    def with_(self, **changes: object) -> "_State":
        return replace(self, process=replace(self.process, **changes))  # type: ignore[arg-type]

    @property
    def variables(self) -> Mapping[str, str]:
        return dict(entry.partition("=")[::2] for entry in self.process.env)


_Instruction = Callable[[_State, str], _State]


def apply_changes(process: ProcessDefaults, lines: Iterable[str]) -> ProcessDefaults:
    """The defaults after these lines, in order. Raises InvalidArgument naming the line that is wrong."""
    state = _State(process)
    for line in (line.strip() for text in lines for line in text.splitlines()):
        if not line or line.startswith("#"):
            continue
        name, *rest = line.split(None, 1)
        instruction = _INSTRUCTIONS.get(name.upper())
        if instruction is None:
            raise InvalidArgument(f"{name[:40]} is not a valid change command")
        if not rest:
            raise InvalidArgument(f"{name.upper()} requires at least one argument")
        state = instruction(state, rest[0])
    return state.process


def _expanded(state: _State, text: str) -> list[str]:
    return [words.expand(word, state.variables) for word in words.split(text)]


def _one(state: _State, text: str, name: str) -> str:
    expanded = _expanded(state, text)
    if len(expanded) != 1:
        raise InvalidArgument(f"{name} requires exactly one argument")
    return expanded[0]


def _pairs(state: _State, text: str, name: str) -> dict[str, str]:
    """key=value words, or the older form: a key, and the rest of the line as its value."""
    parts = words.split(text)
    if "=" not in parts[0]:
        if len(parts) < 2:
            raise InvalidArgument(f"{name} must have two arguments")
        return {words.expand(parts[0], state.variables): words.expand(text.split(None, 1)[1], state.variables)}
    pairs: dict[str, str] = {}
    for part in parts:
        key, equals, value = words.expand(part, state.variables).partition("=")
        if not equals:
            raise InvalidArgument(f"Syntax error - can't find = in {part!r}. Must be of the form: name=value")
        if not key:
            raise InvalidArgument(f"{name} names can not be blank")
        pairs[key] = value
    return pairs


def _array(text: str) -> tuple[str, ...] | None:
    """A JSON array of strings, None for anything else (which then is the shell form)."""
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return tuple(value) if isinstance(value, list) and all(isinstance(word, str) for word in value) else None


def _command(state: _State, text: str) -> tuple[str, ...]:
    array = _array(text)
    return (*(state.process.shell or _SHELL), text) if array is None else array


def _cmd(state: _State, text: str) -> _State:
    return replace(state.with_(command=_command(state, text), args_escaped=False), command_given=True)


def _entrypoint(state: _State, text: str) -> _State:
    changed = state.with_(entrypoint=_command(state, text))
    return changed if state.command_given else changed.with_(command=None)


def _env(state: _State, text: str) -> _State:
    changed = dict(entry.partition("=")[::2] for entry in state.process.env) | _pairs(state, text, "ENV")
    return state.with_(env=tuple(f"{key}={value}" for key, value in changed.items()))


def _label(state: _State, text: str) -> _State:
    return state.with_(labels={**state.process.labels, **_pairs(state, text, "LABEL")})


def _expose(state: _State, text: str) -> _State:
    ports = dict.fromkeys(state.process.exposed_ports)
    for word in _expanded(state, text):
        found = _PORT.fullmatch(word)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not found or not 0 < first <= last <= 65535:
            raise InvalidArgument(f"invalid containerPort: {word}")
        ports |= dict.fromkeys(f"{port}/{found[3] or 'tcp'}" for port in range(first, last + 1))
    return state.with_(exposed_ports=tuple(ports))


def _user(state: _State, text: str) -> _State:
    return state.with_(user=_one(state, text, "USER"))


def _volume(state: _State, text: str) -> _State:
    array = _array(text)
    targets = _expanded(state, text) if array is None else [words.expand(word, state.variables) for word in array]
    if not targets or not all(target.strip() for target in targets):
        raise InvalidArgument("VOLUME specified can not be an empty string")
    return state.with_(volumes=tuple(dict.fromkeys([*state.process.volumes, *targets])))


def _workdir(state: _State, text: str) -> _State:
    path = " ".join(_expanded(state, text))
    return state.with_(working_dir=posixpath.normpath(posixpath.join("/", state.process.working_dir, path)))


def _on_build(state: _State, text: str) -> _State:
    trigger = text.split(None, 1)[0].upper()
    if trigger == "ONBUILD":
        raise InvalidArgument("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("MAINTAINER", "FROM"):
        raise InvalidArgument(f"{trigger} isn't allowed as an ONBUILD trigger")
    return state.with_(on_build=(*state.process.on_build, text))


def _stop_signal(state: _State, text: str) -> _State:
    signal = _one(state, text, "STOPSIGNAL")
    if not re.fullmatch(r"\d{1,2}|(SIG)?[A-Z][A-Z0-9+-]*", signal.upper()):
        raise InvalidArgument(f"Invalid signal: {signal[:40]}")
    return state.with_(stop_signal=signal)


def _shell(state: _State, text: str) -> _State:
    array = _array(text)
    if not array:
        raise InvalidArgument('SHELL requires the arguments to be in JSON form, as ["/bin/sh", "-c"]')
    return state.with_(shell=array)


def _health_check(state: _State, text: str) -> _State:
    numbers: dict[str, int] = {}
    rest = text
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        name, _, value = flag.partition("=")
        numbers |= _health_number(name, value)
        rest = rest.lstrip()
    kind, _, command = rest.partition(" ")
    if kind.upper() == "NONE":
        if command.strip() or numbers:
            raise InvalidArgument("HEALTHCHECK NONE takes no arguments")
        return state.with_(healthcheck=HealthSpec(test=("NONE",)))
    if kind.upper() != "CMD":
        raise InvalidArgument(f"Unknown type {kind[:40]!r} in HEALTHCHECK (try CMD)")
    if not command.strip():
        raise InvalidArgument("Missing command after HEALTHCHECK CMD")
    array = _array(command.strip())
    test = ("CMD-SHELL", command.strip()) if array is None else ("CMD", *array)
    return state.with_(healthcheck=HealthSpec(test=test, **numbers))


def _health_number(name: str, value: str) -> dict[str, int]:
    if name == "--retries":
        if not value.isdigit():
            raise InvalidArgument(f"--retries must be a number of at least 0 (not {value[:40]!r})")
        return {"retries": int(value)}
    if name not in _HEALTH_FLAGS:
        raise InvalidArgument(f"Unknown flag: {name[2:40]}")
    try:
        duration = parse_duration_ns(value)
    except ValueError as error:
        raise InvalidArgument(f"{name}: {error}") from None
    if 0 < duration < _LEAST_DURATION_NS or duration < 0:
        raise InvalidArgument(f"Interval {name} cannot be less than 1ms")
    return {_HEALTH_FLAGS[name]: duration}


_INSTRUCTIONS: Mapping[str, _Instruction] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _health_check,
    "LABEL": _label,
    "ONBUILD": _on_build,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
