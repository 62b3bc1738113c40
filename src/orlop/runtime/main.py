"""orlop-runtime: the OCI runtime's command line, with runc's options. The same plan and init as the keeper's."""

import argparse
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import orlop
from orlop.kernel import capabilities, mounts, namespaces, seccomp
from orlop.runtime.oci_spec import default_spec
from orlop.runtime.oci_verbs import Runtime, Started
from orlop.runtime.steps import StepFailed
from orlop.runtime.terminals import attach
from orlop.spec.errors import InvalidArgument, OrlopError
from orlop.spec.runtime import OCI_VERSION, CapabilitySets, RuntimeProcess, RuntimeUser
from orlop.spec.runtime_json import encode_spec, parse

DEFAULT_ROOT = "/run/orlop-runtime"
_FAILED, _EXEC_FAILED = 1, 255  # exit codes of runc

Options = argparse.Namespace


# --- verbs ---


def create(runtime: Runtime, options: Options) -> int:
    _, started = runtime.create(options.id, options.bundle)
    _announce(options, started)
    return 0


def start(runtime: Runtime, options: Options) -> int:
    runtime.start(options.id)
    return 0


def run(runtime: Runtime, options: Options) -> int:
    _, started = runtime.create(options.id, options.bundle)
    try:
        if options.detach:
            _announce(options, started)
        elif options.pid_file:
            _write_pid(options.pid_file, started.pid)
        runtime.start(options.id)
        if options.detach:
            return 0
        code = attach(started.pid, started.pidfd, started.master)
    except BaseException:
        runtime.delete(options.id, force=True)
        raise
    runtime.delete(options.id, force=True)
    return code


def execute(runtime: Runtime, options: Options) -> int:
    started = runtime.execute(options.id, _exec_process(runtime, options))
    if options.detach:
        _announce(options, started)
        return 0
    if options.pid_file:
        _write_pid(options.pid_file, started.pid)
    return attach(started.pid, started.pidfd, started.master)


def kill(runtime: Runtime, options: Options) -> int:
    runtime.kill(options.id, _signal_number(options.signal), everything=options.all)
    return 0


def delete(runtime: Runtime, options: Options) -> int:
    if options.force and not runtime.store.directory(options.id).exists():
        return 0
    runtime.delete(options.id, force=options.force)
    return 0


def pause(runtime: Runtime, options: Options) -> int:
    runtime.freeze(options.id, frozen=True)
    return 0


def resume(runtime: Runtime, options: Options) -> int:
    runtime.freeze(options.id, frozen=False)
    return 0


def state(runtime: Runtime, options: Options) -> int:
    container = runtime.store.load(options.id)
    more = {"rootfs": container.rootfs, "created": container.created, "owner": ""}
    _print(runtime.store.describe(container) | more)
    return 0


def list_(runtime: Runtime, options: Options) -> int:
    described = [runtime.store.describe(each) | {"created": each.created, "owner": "root"} for each in runtime.store.all()]
    if options.format == "json":
        _print(described)
        return 0
    columns = ("id", "pid", "status", "bundle", "created", "owner")
    if options.quiet:
        print(*(row["id"] for row in described), sep="\n")
        return 0
    rows = [[name.upper() for name in columns], *([str(row[name]) for name in columns] for row in described)]
    widths = [max(map(len, column)) + 3 for column in zip(*rows, strict=True)]
    for row in rows:
        print("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def ps(runtime: Runtime, options: Options) -> int:
    pids = runtime.store.load(options.id).group.pids()
    if options.format == "json":
        _print(pids)
        return 0
    print("PID COMMAND")
    for pid in pids:
        with suppress(FileNotFoundError), open(f"/proc/{pid}/cmdline", "rb") as file:
            print(f"{pid:7} {file.read().replace(bytes(1), b' ').decode(errors='replace')}")
    return 0


def features(runtime: Runtime, options: Options) -> int:
    """What this runtime can do. features.md of the OCI runtime specification."""
    _print(
        {
            "ociVersionMin": "1.0.0",
            "ociVersionMax": OCI_VERSION,
            "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
            "mountOptions": sorted({*mounts.FLAGS, *mounts.PROPAGATION, *mounts.RECURSIVE}),
            "linux": {
                "namespaces": sorted(kind.name for kind in namespaces.KINDS),
                "capabilities": list(capabilities.NAMES),
                "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": True},
                "seccomp": {
                    "enabled": True,
                    "actions": sorted(seccomp.ACTIONS),
                    "operators": sorted(seccomp.COMPARISONS),
                    "archs": sorted(seccomp.ARCHITECTURES),
                    "knownFlags": sorted(seccomp.FLAGS),
                    "supportedFlags": sorted(seccomp.FLAGS),
                },
                "apparmor": {"enabled": True},
                "selinux": {"enabled": True},
                "intelRdt": {"enabled": False},
                "mountExtensions": {"idmap": {"enabled": False}},
            },
        }
    )
    return 0


def spec(runtime: Runtime, options: Options) -> int:
    """Write a config.json to begin with. It is not written over one that is there."""
    with open(os.path.join(options.bundle, "config.json"), "xb") as file:
        file.write(encode_spec(default_spec()))
    return 0


# --- what they share ---


def _print(tree: Any) -> None:
    print(json.dumps(tree, indent=2))


def _signal_number(name: str) -> int:
    bare = name.upper().removeprefix("SIG")
    if bare.isdecimal() and 0 < int(bare) <= signal.SIGRTMAX:
        return int(bare)
    try:
        return int(signal.Signals[f"SIG{bare}"])
    except KeyError:
        raise InvalidArgument(f"unknown signal {name}") from None


def _announce(options: Options, started: Started) -> None:
    """Hand the terminal over, and write the pid where it was asked for: whoever waits for that file finds all ready."""
    if started.master >= 0:
        if not options.console_socket:
            raise InvalidArgument("cannot allocate tty if runc will detach without setting console socket")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(options.console_socket)
            socket.send_fds(connection, [b"/dev/ptmx"], [started.master])
    if options.pid_file:
        _write_pid(options.pid_file, started.pid)


def _write_pid(path: str, pid: int) -> None:
    beside = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}")
    with open(beside, "w") as file:
        file.write(str(pid))
    os.rename(beside, path)


def _exec_process(runtime: Runtime, options: Options) -> RuntimeProcess:
    """From --process, or the container's own with what the options say."""
    if options.process:
        with open(options.process, "rb") as file:
            return parse(RuntimeProcess, json.load(file), "process")
    own = runtime.store.spec(options.id).process or RuntimeProcess()
    if not options.args:
        raise InvalidArgument("process args cannot be empty")
    uid, _, gid = options.user.partition(":")
    granted = own.capabilities or CapabilitySets()
    if options.cap:
        sets = {name: (*getattr(granted, name), *options.cap) for name in ("bounding", "effective", "permitted")}
        granted = replace(granted, **sets)
    user = RuntimeUser(uid=int(uid), gid=int(gid or 0), additional_gids=tuple(options.additional_gids)) if uid else own.user
    return replace(
        own,
        args=tuple(options.args),
        cwd=options.cwd or own.cwd,
        env=(*own.env, *options.env),
        terminal=options.tty,
        console_size=None,
        user=user,
        capabilities=granted,
        no_new_privileges=options.no_new_privs or own.no_new_privileges,
    )


# --- the command line ---

_PLACES = (
    ("--pid-file", {"default": ""}),
    ("--console-socket", {"default": ""}),
)
_BUNDLE = (("-b", "--bundle"), {"default": "."})
_IGNORED = (("--no-pivot", {"action": "store_true"}), ("--no-new-keyring", {"action": "store_true"}))  # runc has them
_ID: tuple[str, dict[str, Any]] = ("id", {})

VERBS: dict[str, tuple[Callable[[Runtime, Options], int], tuple[Any, ...]]] = {
    "create": (create, (_BUNDLE, *_PLACES, *_IGNORED, _ID)),
    "start": (start, (_ID,)),
    "run": (run, (_BUNDLE, *_PLACES, *_IGNORED, (("-d", "--detach"), {"action": "store_true"}), _ID)),
    "exec": (
        execute,
        (
            *_PLACES,
            (("-d", "--detach"), {"action": "store_true"}),
            (("-t", "--tty"), {"action": "store_true"}),
            (("-p", "--process"), {"default": ""}),
            (("-u", "--user"), {"default": ""}),
            (("-g", "--additional-gids"), {"action": "append", "type": int, "default": []}),
            (("-e", "--env"), {"action": "append", "default": []}),
            (("-c", "--cap"), {"action": "append", "default": []}),
            ("--cwd", {"default": ""}),
            ("--no-new-privs", {"action": "store_true"}),
            _ID,
            ("args", {"nargs": argparse.REMAINDER}),
        ),
    ),
    "kill": (kill, ((("-a", "--all"), {"action": "store_true"}), _ID, ("signal", {"nargs": "?", "default": "TERM"}))),
    "delete": (delete, ((("-f", "--force"), {"action": "store_true"}), _ID)),
    "pause": (pause, (_ID,)),
    "resume": (resume, (_ID,)),
    "state": (state, (_ID,)),
    "list": (list_, ((("-f", "--format"), {"default": "table"}), (("-q", "--quiet"), {"action": "store_true"}))),
    "ps": (ps, ((("-f", "--format"), {"default": "table"}), _ID)),
    "features": (features, ()),
    "spec": (spec, (_BUNDLE,)),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="orlop-runtime", description="An OCI runtime.")
    parser.add_argument("--version", "-v", action="version", version=f"orlop-runtime {orlop.__version__}\nspec: {OCI_VERSION}")
    parser.add_argument("--root", default=DEFAULT_ROOT, help="directory of the containers' state")
    parser.add_argument("--log", default="", help="file for errors; stderr else")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("--rootless", default="auto", help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    for name, (_, arguments) in VERBS.items():
        verb = verbs.add_parser(name)
        for flags, settings in arguments:
            verb.add_argument(*((flags,) if isinstance(flags, str) else flags), **settings)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    options = _parser().parse_args(arguments)
    verb, _ = VERBS[options.verb]
    try:
        return verb(Runtime(options.root), options)
    except (OrlopError, StepFailed) as error:
        message = str(error)
    except OSError as error:
        message = f"{error.strerror}: {error.filename}" if error.filename else str(error)
    _log(options, message)
    return _EXEC_FAILED if options.verb == "exec" else _FAILED


def _log(options: Options, message: str) -> None:
    """An error, for people on stderr, and for the caller in its log file."""
    print(f"orlop-runtime: {options.verb} failed: {message}", file=sys.stderr)
    if options.log:
        line = {"level": "error", "msg": message, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        text = json.dumps(line) if options.log_format == "json" else " ".join(f"{key}={json.dumps(line[key])}" for key in line)
        with open(options.log, "a") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
