"""What run and create ask of the daemon."""

from pathlib import Path
from typing import Any

import pytest

from orlop.cli.command import UsageError, parse
from orlop.cli.container import BEHAVIOUR, OPTIONS, PLACES, container_body
from orlop.cli.details import WORK
from orlop.cli.run import RUN_OPTIONS


def body(*words: str) -> dict[str, Any]:
    return container_body(parse(OPTIONS, [*words, "image", "cmd", "-x"], free=False))


def host(*words: str) -> dict[str, Any]:
    found: dict[str, Any] = body(*words)["HostConfig"]
    return found


def test_every_option_has_its_place_or_its_work() -> None:
    names = {name for name, _, _, _ in (*OPTIONS, *RUN_OPTIONS)}
    assert names == set(PLACES) | set(WORK) | (BEHAVIOUR & names)
    assert not set(PLACES) & set(WORK)


def test_the_least_is_little() -> None:
    assert body() == {
        "Image": "image",
        "Cmd": ["cmd", "-x"],
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": False,
        "StdinOnce": False,
        "HostConfig": {"NetworkMode": "default"},
    }


def test_interactive_opens_and_attaches_stdin() -> None:
    found = body("-i")
    assert (found["OpenStdin"], found["AttachStdin"], found["StdinOnce"]) == (True, True, True)


def test_attach_chooses_streams() -> None:
    found = body("-a", "STDERR")
    assert (found["AttachStdin"], found["AttachStdout"], found["AttachStderr"]) == (False, False, True)
    with pytest.raises(UsageError, match="valid streams are STDIN, STDOUT and STDERR"):
        body("-a", "foo")


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["--memory", "64m"], "Memory", 64 << 20),
        (["--memory-swap", "-1"], "MemorySwap", -1),
        (["--cpus", "0.5"], "NanoCpus", 5 * 10**8),
        (["--pids-limit", "9"], "PidsLimit", 9),
        (["--network", "none"], "NetworkMode", "none"),
        (["--network", "name=n"], "NetworkMode", "n"),
        (["--restart", "on-failure:3"], "RestartPolicy", {"Name": "on-failure", "MaximumRetryCount": 3}),
        (["--tmpfs", "/t:size=1m", "--tmpfs", "/u"], "Tmpfs", {"/t": "size=1m", "/u": ""}),
        (["--cap-drop", "all", "--cap-add", "net_raw"], "CapDrop", ["ALL"]),
        (["--cap-add", "net_raw", "--cap-add", "CAP_CHOWN"], "CapAdd", ["CAP_CHOWN", "CAP_NET_RAW"]),
        (
            ["--device", "/dev/a:/dev/b:r"],
            "Devices",
            [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "r"}],
        ),
        (
            ["--device", "/dev/a:rw"],
            "Devices",
            [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/a", "CgroupPermissions": "rw"}],
        ),
        (["--ulimit", "nofile=5"], "Ulimits", [{"Name": "nofile", "Soft": 5, "Hard": 5}]),
        (["--add-host", "a=[::1]", "--add-host", "b:host-gateway"], "ExtraHosts", ["a:::1", "b:host-gateway"]),
        (["--sysctl", "a.b=1"], "Sysctls", {"a.b": "1"}),
        (["--log-driver", "x", "--log-opt", "k=v"], "LogConfig", {"Type": "x", "Config": {"k": "v"}}),
        (["--device-read-bps", "/dev/sda:1mb"], "BlkioDeviceReadBps", [{"Path": "/dev/sda", "Rate": 1 << 20}]),
        (["--blkio-weight-device", "/dev/sda:100"], "BlkioWeightDevice", [{"Path": "/dev/sda", "Weight": 100}]),
        (["--security-opt", "no-new-privileges"], "SecurityOpt", ["no-new-privileges"]),
        (["--security-opt", "systempaths=unconfined"], "MaskedPaths", []),
        (["--init"], "Init", True),
        (["--pid", "container:x"], "PidMode", "container:x"),
        (["--isolation", "vm"], "Isolation", "vm"),
        (["-v", "/a:/b", "-v", "/c"], "Binds", ["/a:/b"]),
        (["--gpus", "all"], "DeviceRequests", [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]),
    ],
)
def test_options_in_the_host_part(words: list[str], field: str, value: object) -> None:
    assert host(*words)[field] == value


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["-e", "A=1", "-e", "UNSET_HERE"], "Env", ["A=1", "UNSET_HERE"]),
        (["-l", "a=b", "-l", "c"], "Labels", {"a": "b", "c": ""}),
        (["--entrypoint", ""], "Entrypoint", [""]),
        (["-v", "/c"], "Volumes", {"/c": {}}),
        (["-p", "80", "--expose", "90"], "ExposedPorts", {"80/tcp": {}, "90/tcp": {}}),
        (["--no-healthcheck"], "Healthcheck", {"Test": ["NONE"]}),
        (["--health-cmd", "x", "--health-interval", "2s"], "Healthcheck", {"Test": ["CMD-SHELL", "x"], "Interval": 2 * 10**9}),
        (["-w", "/x"], "WorkingDir", "/x"),
        (["--stop-timeout", "0"], "StopTimeout", 0),
    ],
)
def test_options_in_the_images_part(words: list[str], field: str, value: object) -> None:
    assert body(*words)[field] == value


def test_env_takes_values_of_this_process_and_of_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import posix

    monkeypatch.setitem(posix.environ, b"HERE", b"yes")
    file = tmp_path / "env"
    file.write_text("# comment\nA=1\n  B=x y\nHERE\nGONE\n\n")
    assert body("--env-file", str(file), "-e", "HERE")["Env"] == ["A=1", "B=x y", "HERE=yes", "HERE=yes"]


def test_labels_of_files(tmp_path: Path) -> None:
    file = tmp_path / "labels"
    file.write_text("a=1\nb\n")
    assert body("--label-file", str(file), "-l", "a=2")["Labels"] == {"a": "2", "b": ""}


def test_a_seccomp_profile_is_sent_as_its_text(tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text('{\n "defaultAction": "X"\n}')
    assert host("--security-opt", f"seccomp={file}")["SecurityOpt"] == ['seccomp={"defaultAction":"X"}']


def test_a_directory_instead_of_an_image() -> None:
    found = container_body(parse(OPTIONS, ["--rootfs", "/tree", "sh", "-c", "x"], free=False))
    assert (found["Image"], found["Cmd"], found["HostConfig"]["Rootfs"]) == ("", ["sh", "-c", "x"], "/tree")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-e", "=x"], 'invalid argument "=x" for "-e, --env" flag: invalid environment variable: =x'),
        (["--env-file", "/nosuch"], "--env-file: open /nosuch: no such file or directory"),
        (["--rm", "--restart", "always"], "conflicting options: cannot specify both --restart and --rm"),
        (["--restart", ":3"], "invalid restart policy format: no policy provided before colon"),
        (["--restart", "x:y"], "invalid restart policy format: maximum retry count must be an integer"),
        (["--pid", "foo"], "--pid: invalid PID mode"),
        (["--device", "x:y:z:w"], "bad format for path: x:y:z:w"),
        (["--device", "/dev/a:b"], "b is not an absolute path"),
        (["--add-host", "x"], 'invalid argument "x" for "--add-host" flag: bad format for add-host: "x"'),
        (["--sysctl", "x"], 'invalid argument "x" for "--sysctl" flag: sysctl \'x\' is not allowed'),
        (["--no-healthcheck", "--health-cmd", "x"], "--no-healthcheck conflicts with --health-* options"),
        (["--health-retries", "-1"], "--health-retries cannot be negative"),
        (["--memory-swappiness", "101"], "invalid value: 101. Valid memory swappiness range is 0-100"),
        (["--log-driver", "none", "--log-opt", "a=b"], "invalid logging opts for driver none"),
        (["--storage-opt", "x"], "invalid storage option"),
        (["--security-opt", "seccomp"], 'invalid --security-opt: "seccomp"'),
        (
            ["--security-opt", "seccomp=/nosuch"],
            "opening seccomp profile (/nosuch) failed: open /nosuch: no such file or directory",
        ),
        (["--device-read-bps", "x"], 'invalid argument "x" for "--device-read-bps" flag: bad format: x'),
    ],
)
def test_what_is_refused_before_the_daemon_is_asked(words: list[str], message: str) -> None:
    with pytest.raises((ValueError, UsageError)) as caught:
        body(*words)
    assert str(caught.value) == message
