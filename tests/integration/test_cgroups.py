"""What a container sees of its control group, and what holds it there: the same on cgroup version 1 and 2 (`make vmtest`)."""

import json
import os
from pathlib import Path

import pytest

from orlop.kernel import cgroups
from orlop.kernel.cgroups import Cgroup
from support.engine import Engine, until

pytestmark = pytest.mark.root
LAYOUT = cgroups.layout()
SECOND = LAYOUT.version == 2


def run(engine: Engine, *words: str, code: int | None = 0, both: bool = False) -> str:
    return engine.docker("run", "--rm", "--network", "none", *words, code=code, both=both).rstrip("\n")


def group_of(engine: Engine, name: str) -> Cgroup:
    return Cgroup(f"{engine.cgroup_parent}/{engine.inspect(name)['Id']}", LAYOUT)


def read(first: str, second: str) -> str:
    """A command that shows a control file, by its names on version 1 and 2."""
    return f"cat /sys/fs/cgroup/{second if SECOND else first}"


def test_a_container_sees_its_own_group_as_the_root_and_cannot_write_there(engine: Engine) -> None:
    groups = run(engine, "busybox", "cat", "/proc/self/cgroup").splitlines()
    assert {line.split(":", 2)[2] for line in groups} == {"/"}
    script = f"{read('pids/pids.current', 'pids.current')}; mkdir /sys/fs/cgroup/{'' if SECOND else 'pids/'}mine"
    out = run(engine, "busybox", "sh", "-c", script, code=1, both=True)
    assert out.split("\n")[0] == "2"
    assert "Read-only file system" in out


def test_a_privileged_container_may_make_groups_of_its_own(engine: Engine) -> None:
    mine = f"/sys/fs/cgroup/{'' if SECOND else 'pids/'}mine"
    script = f"mkdir {mine} && echo $$ >{mine}/cgroup.procs && cat /proc/self/cgroup"
    out = run(engine, "--privileged", "--cgroupns", "private", "busybox", "sh", "-c", script)
    assert any(line.endswith(":/mine") for line in out.splitlines())
    until(lambda: not list(Path(f"{next(iter(LAYOUT.roots.values()))}{engine.cgroup_parent}").glob("*/mine")))


def test_limits_are_what_the_container_reads(engine: Engine) -> None:
    limits = (
        "-m",
        "64m",
        "--memory-swap",
        "96m",
        "--memory-reservation",
        "32m",
        "--cpus",
        ".5",
        "--pids-limit",
        "50",
        "--cpuset-cpus",
        "0",
    )
    files = [
        ("memory/memory.limit_in_bytes", "memory.max"), ("memory/memory.soft_limit_in_bytes", "memory.low"),
        ("pids/pids.max", "pids.max"), ("cpuset/cpuset.cpus", "cpuset.cpus"), ("cpu/cpu.cfs_quota_us", "cpu.max"),
    ]  # fmt: skip
    out = run(engine, *limits, "busybox", "sh", "-c", "; ".join(read(*names) for names in files)).split("\n")
    assert out == [str(64 << 20), str(32 << 20), "50", "0", "50000 100000" if SECOND else "50000"]


def test_a_weight_becomes_a_weight(engine: Engine) -> None:
    shown = run(engine, "--cpu-shares", "512", "busybox", "sh", "-c", read("cpu/cpu.shares", "cpu.weight"))
    assert shown == ("20" if SECOND else "512")


def test_update_moves_limits_of_what_runs(engine: Engine) -> None:
    engine.docker("run", "-d", "--name", "up", "-m", "64m", "--memory-swap", "64m", "busybox", "sleep", "100")
    engine.docker("update", "--memory", "128m", "--memory-swap", "256m", "--pids-limit", "77", "up")
    show = f"{read('memory/memory.limit_in_bytes', 'memory.max')}; {read('pids/pids.max', 'pids.max')}"
    assert engine.docker("exec", "up", "sh", "-c", show).split() == [str(128 << 20), "77"]
    engine.docker("rm", "-f", "up")


def test_an_exec_is_in_the_containers_group(engine: Engine) -> None:
    engine.docker("run", "-d", "--name", "inner", "busybox", "sleep", "100")
    assert {line.split(":", 2)[2] for line in engine.docker("exec", "inner", "cat", "/proc/self/cgroup").splitlines()} == {"/"}
    engine.docker("exec", "-d", "inner", "sleep", "200")
    assert until(lambda: len(group_of(engine, "inner").pids()) == 2)
    engine.docker("rm", "-f", "inner")


@pytest.mark.skipif(not SECOND, reason="version 1 lets a group have both processes and groups below it")
def test_an_exec_finds_a_place_when_the_container_has_divided_its_group(engine: Engine) -> None:
    """As systemd does in a container: then the group itself takes no process any more."""
    divide = (
        "cd /sys/fs/cgroup && mkdir init && echo 1 >init/cgroup.procs && echo +pids >cgroup.subtree_control && exec sleep 100"
    )
    engine.docker("run", "-d", "--name", "divided", "--privileged", "--cgroupns", "private", "busybox", "sh", "-c", divide)
    until(lambda: "sleep" in engine.docker("top", "divided"))
    assert engine.docker("exec", "divided", "cat", "/proc/self/cgroup") == "0::/init\n"
    assert json.loads(engine.docker("stats", "--no-stream", "--format", "{{json .}}", "divided"))["PIDs"] == "1"
    engine.docker("pause", "divided")
    engine.docker("unpause", "divided")
    group = group_of(engine, "divided")
    engine.docker("rm", "-f", "divided")
    until(lambda: not group.exists())


def test_a_paused_container_is_frozen_and_can_be_removed(engine: Engine) -> None:
    engine.docker("run", "-d", "--name", "cold", "busybox", "sleep", "100")
    engine.docker("pause", "cold")
    group = group_of(engine, "cold")
    assert group.frozen()
    engine.docker("rm", "-f", "cold")
    until(lambda: not group.exists(), what="the group of a paused container removed")


def test_an_oom_kill_of_a_child_is_told_and_the_container_goes_on(engine: Engine) -> None:
    hog = "sh -c 'x=a; while :; do x=$x$x; done'; echo code $?"
    out = engine.docker(
        "run", "--name", "hog", "-m", "48m", "--memory-swap", "48m", "--network", "none", "busybox", "sh", "-c", hog
    )
    assert out == "code 137\n"
    assert engine.inspect("hog")["State"]["OOMKilled"]
    engine.docker("rm", "hog")


def test_devices_are_allowed_by_rule_only(engine: Engine) -> None:
    """Number 120:1 is nobody's: who may open it learns that, everybody else is refused before."""
    script = "mknod /tmp/zero c 1 5 && head -c 3 /tmp/zero | wc -c; mknod /tmp/local c 120 1 && cat /tmp/local"
    out = run(engine, "busybox", "sh", "-c", script, code=1, both=True).split("\n")
    assert (out[0], out[1].rpartition(": ")[2]) == ("3", "Operation not permitted")
    out = run(engine, "--device-cgroup-rule", "c 120:* r", "busybox", "sh", "-c", script, code=1, both=True).split("\n")
    assert (out[0], out[1].rpartition(": ")[2]) == ("3", "No such device or address")
    out = run(engine, "--device-cgroup-rule", "c 120:* w", "busybox", "sh", "-c", script, code=1, both=True).split("\n")
    assert out[1].rpartition(": ")[2] == "Operation not permitted"


def test_stats_are_those_of_the_group(engine: Engine) -> None:
    burn = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 100"
    engine.docker("run", "-d", "--name", "busy", "-m", "64m", "--pids-limit", "30", "busybox", "sh", "-c", burn)
    until(lambda: "sleep" in engine.docker("top", "busy"))
    status, body = engine.api("GET", "/v1.43/containers/busy/stats?stream=false&one-shot=true")
    stats = json.loads(body)
    assert status == 200
    assert (stats["memory_stats"]["limit"], stats["pids_stats"]["limit"], stats["pids_stats"]["current"]) == (64 << 20, 30, 1)
    assert 0 < stats["memory_stats"]["usage"] < 64 << 20
    usage = stats["cpu_stats"]["cpu_usage"]
    assert usage["total_usage"] > 1_000_000
    assert usage["usage_in_usermode"] + usage["usage_in_kernelmode"] > 0
    assert ("inactive_file" if SECOND else "total_inactive_file") in stats["memory_stats"]["stats"]
    row = json.loads(engine.docker("stats", "--no-stream", "--format", "{{json .}}", "busy"))
    assert row["PIDs"] == "1"
    assert row["MemUsage"].endswith("/ 64MiB")
    engine.docker("rm", "-f", "busy")


def test_a_rate_limit_on_a_disk_reaches_the_group(engine: Engine) -> None:
    disks = (name for name in sorted(os.listdir("/sys/block")) if Path("/dev", name).is_block_device())
    disk = next((f"/dev/{name}" for name in disks if not name.startswith(("loop", "ram", "zram"))), None)
    if disk is None:
        pytest.skip("no disk here")
    engine.docker("run", "-d", "--name", "slow", "--device-write-bps", f"{disk}:1mb", "busybox", "sleep", "100")
    key = "io.max" if SECOND else "blkio/blkio.throttle.write_bps_device"
    number = os.stat(disk).st_rdev
    (line,) = group_of(engine, "slow").read(key).splitlines()
    assert line.split()[0] == f"{os.major(number)}:{os.minor(number)}"
    assert ("wbps=1048576" if SECOND else "1048576") in line.split()
    engine.docker("rm", "-f", "slow")


def test_containers_below_a_parent_of_their_own(engine: Engine) -> None:
    parent = f"{engine.cgroup_parent}/deck/below"
    engine.docker("run", "-d", "--name", "low", "--cgroup-parent", parent, "-m", "64m", "busybox", "sleep", "100")
    group = Cgroup(f"{parent}/{engine.inspect('low')['Id']}", LAYOUT)
    assert len(group.pids()) == 1
    assert group.read("memory.max" if SECOND else "memory/memory.limit_in_bytes").strip() == str(64 << 20)
    engine.docker("rm", "-f", "low")
    until(lambda: not group.exists())


def test_what_this_version_cannot_do_is_refused_by_name(engine: Engine) -> None:
    if not SECOND:
        pytest.skip("version 1 has files for these")
    out = run(engine, "--memory-swappiness", "10", "busybox", "true", code=None, both=True)
    assert "swappiness" in out.lower()
