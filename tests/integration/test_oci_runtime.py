"""The OCI command line. Where runc is installed each test runs on it too: one that runc fails is a wrong test."""

import json
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orlop.spec import bundle as defaults
from orlop.spec.runtime import CapabilitySets, Hook, Hooks, Linux, Namespace, Root, RuntimeMount, RuntimeProcess, RuntimeSpec
from orlop.spec.runtime_json import encode_spec
from support.box import busybox_root
from support.engine import ROOT

pytestmark = pytest.mark.root

RUNTIMES = {"orlop-runtime": str(ROOT / "scripts/orlop-runtime"), "runc": "/usr/sbin/runc"}


class Oci:
    """A runtime with a state directory and a bundle of its own."""

    def __init__(self, program: str, directory: Path) -> None:
        self.program, self.directory = program, directory
        self.bundle = directory / "bundle"
        self.root = busybox_root(self.bundle / "rootfs")
        self.id = f"orlop-test-{uuid.uuid4().hex[:12]}"

    def configure(self, *argv: str, **changes: Any) -> None:
        """Write config.json."""
        linux = Linux(
            namespaces=tuple(Namespace(type=kind) for kind in ("mount", "pid", "ipc", "uts", "network")),
            cgroups_path=f"/{self.id}",
            masked_paths=("/proc/kcore", "/proc/keys"),
            readonly_paths=("/proc/sys",),
        )
        granted = defaults.DEFAULT_CAPABILITIES
        process = RuntimeProcess(
            args=argv,
            env=("PATH=/bin", "A=1"),
            capabilities=CapabilitySets(bounding=granted, effective=granted, permitted=granted),
        )
        mounts = (
            RuntimeMount(destination="/proc", type="proc", source="proc"),
            RuntimeMount(destination="/dev", type="tmpfs", source="tmpfs", options=("nosuid", "mode=755")),
            RuntimeMount(
                destination="/dev/pts", type="devpts", source="devpts", options=("newinstance", "ptmxmode=0666", "mode=0620")
            ),
        )
        spec = RuntimeSpec(
            **{"process": process, "root": Root(path="rootfs"), "hostname": "oci", "mounts": mounts, "linux": linux, **changes}
        )
        (self.bundle / "config.json").write_bytes(encode_spec(spec))

    def __call__(self, *arguments: str, check: bool = True, output: str = "out") -> subprocess.CompletedProcess[str]:
        """Run a command. Its output goes to files, for a container inherits it: a pipe would last as long."""
        command = [self.program, "--root", str(self.directory / "state"), *arguments]
        files = self.directory / output, self.directory / "errors"
        with open(files[0], "w") as out, open(files[1], "w") as errors:
            code = subprocess.call(command, cwd=self.bundle, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, timeout=30)
        done = subprocess.CompletedProcess(command, code, *(file.read_text() for file in files))
        assert not check or done.returncode == 0, done
        return done

    def create(self) -> Path:
        """Create it; the file that its output goes to."""
        self("create", self.id, output="container")
        return self.directory / "container"

    def status(self) -> str:
        return str(json.loads(self("state", self.id).stdout)["status"])

    def wait(self, status: str) -> None:
        until(lambda: self.status() == status)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(params=RUNTIMES)
def oci(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Oci]:
    program = RUNTIMES[request.param]
    if not os.access(program, os.X_OK):
        pytest.skip(f"{program} is not installed")
    runtime = Oci(program, tmp_path)
    yield runtime
    runtime("delete", "--force", runtime.id, check=False)
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{runtime.id}"))


def test_run_prints_and_ends_as_the_program_does(oci: Oci) -> None:
    oci.configure("sh", "-c", "echo $$ $(hostname) $A; exit 7")
    done = oci("run", oci.id, check=False)
    assert (done.stdout, done.returncode) == ("1 oci 1\n", 7)
    assert oci("state", oci.id, check=False).returncode == 1


def test_the_life_of_a_container(oci: Oci) -> None:
    oci.configure("sh", "-c", "echo started; sleep 30; true")
    output = oci.create()
    assert oci.status() == "created"
    assert output.read_text() == ""
    oci("start", oci.id)
    until(lambda: output.read_text() == "started\n")
    assert oci.status() == "running"
    assert oci("start", oci.id, check=False).returncode == 1
    oci("pause", oci.id)
    assert oci.status() == "paused"
    oci("resume", oci.id)
    assert len(json.loads(oci("ps", "--format", "json", oci.id).stdout)) == 2
    assert [each["id"] for each in json.loads(oci("list", "--format", "json").stdout)] == [oci.id]
    assert oci("delete", oci.id, check=False).returncode == 1
    oci("kill", oci.id, "KILL")
    oci.wait("stopped")
    oci("delete", oci.id)
    assert json.loads(oci("list", "--format", "json").stdout) in ([], None)


def test_a_created_container_can_be_killed_and_deleted(oci: Oci) -> None:
    oci.configure("true")
    oci.create()
    oci("kill", oci.id, "KILL")
    oci.wait("stopped")
    oci("delete", oci.id)
    assert oci("delete", oci.id, check=False).returncode == 1
    oci("delete", "--force", oci.id)


def test_an_id_is_taken_once(oci: Oci) -> None:
    oci.configure("true")
    oci.create()
    done = oci("create", oci.id, check=False)
    assert done.returncode == 1
    assert "container with given ID already exists" in done.stderr
    assert oci.status() == "created"


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".."])
def test_bad_ids(oci: Oci, name: str) -> None:
    oci.configure("true")
    assert oci("create", name, check=False).returncode == 1
    assert not (oci.directory / "x").exists()


def test_execs(oci: Oci) -> None:
    oci.configure("sleep", "30")
    oci("run", "-d", "--pid-file", "pid", oci.id)
    pid = (oci.bundle / "pid").read_text()
    done = oci(
        "exec",
        "-e",
        "B=2",
        "--cwd",
        "/etc",
        "-u",
        "33:34",
        oci.id,
        "sh",
        "-c",
        "echo $A $B $(pwd) $(id -u):$(id -g); exit 3",
        check=False,
    )
    assert (done.stdout, done.returncode) == ("1 2 /etc 33:34\n", 3)
    done = oci("exec", oci.id, "nosuch", check=False)
    assert done.returncode == 255
    assert "executable file not found in $PATH" in done.stderr
    process = {
        "args": ["sh", "-c", "readlink /proc/self/ns/pid"],
        "cwd": "/",
        "env": ["PATH=/bin"],
        "user": {"uid": 0, "gid": 0},
    }
    (oci.bundle / "process.json").write_text(json.dumps(process))
    assert oci("exec", "--process", "process.json", oci.id).stdout.strip() == os.readlink(f"/proc/{pid}/ns/pid")


def test_failures_leave_nothing_and_are_logged(oci: Oci) -> None:
    oci.configure("nosuch")
    done = oci("--log", "log", "--log-format", "json", "create", oci.id, check=False)
    assert done.returncode == 1
    assert "executable file not found in $PATH" in done.stderr
    assert any("executable file not found" in json.loads(line)["msg"] for line in (oci.bundle / "log").read_text().splitlines())
    assert oci("state", oci.id, check=False).returncode == 1
    (oci.bundle / "config.json").write_text("{")
    assert oci("create", oci.id, check=False).returncode == 1


def test_a_terminal_goes_to_the_console_socket(oci: Oci) -> None:
    process = RuntimeProcess(args=("sh", "-c", "tty; read x; echo got $x"), env=("PATH=/bin",), terminal=True)
    oci.configure(process=process)
    with socket.socket(socket.AF_UNIX) as listener:
        path = str(oci.directory / "s")
        listener.bind(path)
        listener.listen()
        oci("run", "-d", "--console-socket", path, oci.id)
        connection, _ = listener.accept()
        with connection:
            _, (master,), _, _ = socket.recv_fds(connection, 1024, 1)
    os.write(master, b"hello\n")
    output = b""
    try:
        while block := os.read(master, 1024):
            output += block
    except OSError:
        pass
    os.close(master)
    assert b"/dev/pts/0" in output
    assert b"got hello" in output


def test_hooks_run_in_their_order_and_place(oci: Oci) -> None:
    log = oci.directory / "hooks"

    def hook(name: str) -> tuple[Hook, ...]:
        return (Hook(path="/bin/sh", args=("sh", "-c", f"read state; echo {name} >> {log}; echo $state > {log}.{name}")),)

    oci.configure(
        "true",
        hooks=Hooks(
            prestart=hook("prestart"),
            create_runtime=hook("createRuntime"),
            create_container=hook("createContainer"),
            start_container=(Hook(path="/bin/sh", args=("sh", "-c", "cat > /hooked")),),
            poststart=hook("poststart"),
            poststop=hook("poststop"),
        ),
    )
    oci.create()
    assert log.read_text().split()[:3] == ["prestart", "createRuntime", "createContainer"]  # Debian 12's runc adds poststart
    assert not (oci.root / "hooked").exists()
    oci("start", oci.id)
    oci.wait("stopped")
    oci("delete", oci.id)
    assert log.read_text().split()[3:] == ["poststart", "poststop"]
    assert json.loads((oci.root / "hooked").read_text())["id"] == oci.id
    for name in ("createRuntime", "createContainer"):
        state = json.loads(Path(f"{log}.{name}").read_text())
        assert (state["id"], state["pid"] > 0) == (oci.id, True)  # runc tells createContainer its pid as seen inside


def test_a_failing_hook_stops_the_creation(oci: Oci) -> None:
    oci.configure("true", hooks=Hooks(create_runtime=(Hook(path="/bin/false", args=("false",)),)))
    assert oci("create", oci.id, check=False).returncode == 1
    assert oci("state", oci.id, check=False).returncode == 1


def test_features() -> None:
    done = subprocess.run([RUNTIMES["orlop-runtime"], "features"], capture_output=True, text=True, check=True)
    features = json.loads(done.stdout)
    assert "SCMP_ARCH_X86_64" in features["linux"]["seccomp"]["archs"]
    assert {"ro", "rro", "rslave"} <= set(features["mountOptions"])


def test_spec_writes_a_config_that_runs(oci: Oci) -> None:
    oci("spec")
    config = oci.bundle / "config.json"
    spec = json.loads(config.read_bytes())
    assert spec["process"]["args"] == ["sh"]
    assert spec["process"]["terminal"]
    assert spec["root"] == {"path": "rootfs", "readonly": True}
    assert oci("spec", check=False).returncode == 1  # an existing one stays
    spec["process"] |= {"terminal": False, "args": ["sh", "-c", "echo $$; touch /x"]}
    spec["process"].pop("rlimits", None)  # this host may not raise any
    config.write_text(json.dumps(spec))
    done = oci("run", oci.id, check=False)
    assert (done.stdout, done.returncode) == ("1\n", 1)
    assert "Read-only file system" in done.stderr
