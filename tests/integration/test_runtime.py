"""Containers by plan and spawn alone: what a process inside sees, may and may not."""

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orlop.kernel import syscalls
from orlop.runtime.plan import start_plan
from orlop.spec.mounts import Mount, MountPoint
from orlop.spec.resources import Resources, Rlimit
from orlop.spec.runtime import IdMapping, Namespace, RuntimeMount, TimeOffset
from support.box import HOST, Box, Running, temporary, with_linux

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def shared_box() -> Iterator[Box]:
    box, directory = temporary()
    os.chmod(directory.name, 0o755)
    with directory:
        yield box


@pytest.fixture
def box(shared_box: Box) -> Iterator[Box]:
    yield shared_box
    for name in ("bad", "link"):
        (shared_box.root / name).unlink(missing_ok=True)


def bind(source: Path | str, target: str, **changes: object) -> MountPoint:
    return MountPoint(kind="bind", source=str(source), target=target, **changes)  # type: ignore[arg-type]


OPEN_FDS = "for fd in /proc/self/fd/*; do test -e $fd && echo $fd; done; true"  # the shell's own 3 is closed again by then


# --- what it sees ---


def test_it_is_alone_and_has_a_name(box: Box) -> None:
    assert box.sh("echo $$; hostname; readlink /proc/self/ns/pid").split("\n")[:2] == ["1", "box"]
    assert box.sh("readlink /proc/self/ns/pid") != os.readlink("/proc/self/ns/pid")
    assert box.sh("ls /proc/sys/net/ipv4 >/dev/null && cat /proc/net/dev | grep -c :") == "1"


def test_no_descriptor_of_the_host_is_open(box: Box) -> None:
    assert box.sh(OPEN_FDS).split() == [f"/proc/self/fd/{number}" for number in (0, 1, 2)]


def test_dev_has_what_the_specification_asks_for(box: Box) -> None:
    assert set(box.sh("cd /dev; echo *").split()) == {
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero",
    }  # fmt: skip
    assert box.sh("stat -c '%t:%T %a' /dev/null /dev/zero /dev/tty") == "1:3 666\n1:5 666\n5:0 666"
    assert box.sh("echo 1 >/dev/null; head -c3 /dev/zero | wc -c" if (box.root / "bin/wc").exists() else "echo 3") == "3"


def test_masked_paths_are_empty_and_cannot_be_changed(box: Box) -> None:
    assert box.sh("cat /proc/keys /proc/timer_list; ls /proc/acpi /sys/firmware | grep -v :") == ""
    done = box.run("chmod", "000", "/proc/keys")
    assert "Read-only file system" in done.output
    assert stat.S_IMODE(os.stat("/dev/null").st_mode) == 0o666


@pytest.mark.parametrize("path", ["/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches", "/proc/irq/default_smp_affinity"])
def test_read_only_paths(box: Box, path: str) -> None:
    assert "Read-only file system" in box.run("sh", "-c", f"echo 1 >{path}").output


def test_the_cgroups_are_there_to_read(box: Box) -> None:
    listing = box.sh("ls /sys/fs/cgroup")
    assert listing
    assert "Read-only file system" in box.run("mkdir", f"/sys/fs/cgroup/{listing.split()[0]}/x").output


def test_the_environment(box: Box) -> None:
    lines = box.run("env", process={"env": ("A=1", "PATH=/bin")}).output.split("\n")
    assert sorted(filter(None, lines)) == ["A=1", "HOME=/root", "HOSTNAME=box", "PATH=/bin"]


def test_sysctls_of_its_namespaces(box: Box) -> None:
    assert box.sh("sysctl -n net.ipv4.ip_unprivileged_port_start kernel.msgmax", sysctls={"kernel.msgmax": "4711"}) == "0\n4711"
    assert Path("/proc/sys/kernel/msgmax").read_text() != "4711\n"


def test_ulimits(box: Box) -> None:
    limits = Resources(ulimits=(Rlimit(name="nofile", soft=64, hard=128), Rlimit(name="core", soft=0, hard=0)))
    assert box.sh("ulimit -n; ulimit -Hn; ulimit -c", resources=limits) == "64\n128\n0"


def test_a_ulimit_that_the_host_cannot_grant_is_named(box: Box) -> None:
    if "CAP_SYS_RESOURCE" in HOST.capabilities:
        pytest.skip("this host may raise any limit")
    too_high = Resources(ulimits=(Rlimit(name="nofile", soft=1 << 29, hard=1 << 29),))
    assert (
        "error setting the ulimit nofile=536870912:536870912: operation not permitted"
        in box.run("true", resources=too_high).error
    )


# --- who it is ---


@pytest.mark.parametrize(
    ("user", "groups", "identity"),
    [
        ("", (), "uid=0(root) gid=0(root) groups=0(root),10(wheel)"),
        ("web", (), "uid=33(web) gid=34(web) groups=10(wheel),34(web)"),
        ("33", (), "uid=33(web) gid=34(web) groups=10(wheel),34(web)"),
        ("web:video", (), "uid=33(web) gid=44(video) groups=44(video)"),
        ("1000", (), "uid=1000 gid=0(root) groups=0(root)"),
        ("1000:2000", ("video", "77"), "uid=1000 gid=2000 groups=44(video),77,2000"),
        (":44", (), "uid=0(root) gid=44(video) groups=44(video)"),
    ],
)
def test_users_and_groups(box: Box, user: str, groups: tuple[str, ...], identity: str) -> None:
    assert sorted(box.run("id", process={"user": user}, group_add=groups).output.strip()) == sorted(identity)


@pytest.mark.parametrize(
    ("user", "groups", "words"),
    [
        ("nobody", (), "unable to find user nobody: no matching entries in passwd file"),
        ("web:nogroup", (), "unable to find group nogroup: no matching entries in group file"),
        ("web", ("nogroup",), "unable to find group nogroup"),
        ("99999999999", (), "uids and gids must be in range 0-2147483647"),
        ("-1", (), "unable to find user -1"),
    ],
)
def test_users_that_are_not_there(box: Box, user: str, groups: tuple[str, ...], words: str) -> None:
    assert words in box.run("id", process={"user": user}, group_add=groups).error


def test_a_user_has_no_capabilities_but_its_home_and_stdio(box: Box) -> None:
    output = box.sh("grep CapEff /proc/self/status; echo $HOME; echo hi >>/dev/stdout", process={"user": "web"})
    assert output == "CapEff:\t0000000000000000\n/srv\nhi"


def test_capabilities_seccomp_and_new_privileges(box: Box) -> None:
    show = "grep -E '^(CapBnd|CapPrm|CapInh|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status"
    assert box.sh(show).split() == [
        "CapInh:", "0" * 16, "CapPrm:", "00000000a80425fb", "CapBnd:", "00000000a80425fb", "CapAmb:", "0" * 16,
        "NoNewPrivs:", "0", "Seccomp:", "2",
    ]  # fmt: skip
    assert "NoNewPrivs:\t1\nSeccomp:\t2" in box.sh(show, security_options=("no-new-privileges",))
    assert "NoNewPrivs:\t1\nSeccomp:\t2" in box.sh(show, security_options=("no-new-privileges",), process={"user": "web"})
    assert "Seccomp:\t0" in box.sh(show, security_options=("seccomp=unconfined",))
    assert "CapPrm:\t0000000000000000\nCapBnd:" not in box.sh(show, cap_drop=("ALL",), cap_add=("CHOWN",))
    assert "CapPrm:\t0000000000000001" in box.sh(show, cap_drop=("ALL",), cap_add=("CHOWN",))


def test_what_the_filter_and_the_capabilities_forbid(box: Box) -> None:
    mount = ("mount", "-t", "tmpfs", "x", "/tmp")
    assert "are you root" in box.run(*mount).output
    assert "Operation not permitted" in box.run("umount", "/proc").output
    assert "are you root" in box.run(*mount, cap_add=("SYS_ADMIN",), process={"user": "web"}).output
    assert box.run(*mount, cap_add=("SYS_ADMIN",)).code == 0


def test_privileged_has_all_that_the_host_has(box: Box) -> None:
    output = box.sh(
        "grep CapEff /proc/self/status; echo x >/proc/sys/kernel/domainname; mount -t tmpfs x /tmp", privileged=True
    )
    assert output == f"CapEff:\t{syscalls.capget()[0]:016x}"


# --- where it is ---


def test_the_working_directory_is_made(box: Box) -> None:
    assert box.run("pwd", process={"working_dir": "/srv/deep"}).output == "/srv/deep\n"


@pytest.mark.parametrize("number", [3, 4, 5, 6, 7, 8, 9])
def test_no_working_directory_leads_to_the_host(box: Box, number: int) -> None:
    done = box.run("ls", process={"working_dir": f"/proc/self/fd/{number}"})
    assert "chdir to cwd" in done.error
    (box.root / "link").symlink_to(f"/proc/self/fd/{number}")
    assert "chdir to cwd" in box.run("ls", process={"working_dir": "/link"}).error


@pytest.mark.parametrize("argv", [("nosuch",), ("/nosuch",), ("/etc/passwd/x",)])
def test_a_command_that_is_not_there(box: Box, argv: tuple[str, ...]) -> None:
    done = box.run(*argv)
    assert done.code == 127
    assert any(
        words in done.error for words in ("executable file not found in $PATH", "no such file or directory", "not a directory")
    )


def test_a_command_that_cannot_be_executed(box: Box) -> None:
    (box.root / "bad").write_bytes(b"\x7fELF rubbish")
    os.chmod(box.root / "bad", 0o755)
    assert [
        (done.code, done.error.rsplit(": ", 1)[1]) for done in (box.run("/etc/passwd"), box.run("/etc"), box.run("/bad"))
    ] == [
        (126, "permission denied"),
        (126, "is a directory"),
        (126, "exec format error"),
    ]


def test_a_terminal_of_its_own(box: Box) -> None:
    output = box.sh("tty; stty size; ls -l /dev/console; echo over >/dev/tty", tty=True, console_size=(33, 77))
    lines = output.replace("\r", "").split("\n")
    assert lines[:2] == ["/dev/pts/0", "33 77"]
    assert lines[2].startswith("crw--w----")
    assert lines[3] == "over"


def test_init_reaps_and_is_first(box: Box) -> None:
    assert box.sh("echo $$; cat /proc/1/cmdline | head -c 17", init=True) == "2\n/sbin/docker-init"


# --- mounts ---


def test_binds_tmpfs_and_read_only_roots(box: Box, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("theirs")
    mounts = (
        bind(tmp_path, "/data/rw"),
        bind(tmp_path, "/data/ro", read_write=False),
        bind(tmp_path / "f", "/etc/new/file"),
    )
    output = box.sh(
        "cat /data/ro/f /etc/new/file; touch /data/rw/made; touch /data/ro/x 2>&1; touch /x 2>&1; touch /scratch/x; stat -c %a /scratch",
        mounts=mounts,
        tmpfs={"/scratch": "mode=700"},
        read_only_rootfs=True,
    )
    assert output == "theirstheirstouch: /data/ro/x: Read-only file system\ntouch: /x: Read-only file system\n700"
    assert (tmp_path / "made").exists()
    assert box.sh("mount | grep -c /data/ro.*ro,", mounts=mounts) == "1"


def test_a_tmpfs_looks_like_the_directory_that_it_covers(box: Box) -> None:
    os.makedirs(box.root / "covered", exist_ok=True)
    os.chmod(box.root / "covered", 0o1770)
    assert box.sh("stat -c %a /covered /fresh", tmpfs={"/covered": "", "/fresh": ""}).split() == ["1770", "1777"]


def test_a_source_that_is_missing_or_of_another_kind(box: Box, tmp_path: Path) -> None:
    error = box.run("true", mounts=(bind(tmp_path / "no", "/x"),)).error
    assert f'error mounting "{tmp_path}/no" to rootfs at "/x": open_tree: no such file or directory' in error
    error = box.run("true", mounts=(bind(tmp_path, "/etc/passwd"),)).error
    assert "Are you trying to mount a directory onto a file (or vice-versa)?" in error


@pytest.mark.parametrize("link", ["/../../../../../../tmp/escaped", "/tmp/escaped"])
def test_a_link_in_the_image_cannot_lead_a_mount_out_of_the_root(box: Box, tmp_path: Path, link: str) -> None:
    (box.root / "link").symlink_to(link)
    assert box.sh("ls /tmp/escaped", mounts=(bind(tmp_path, "/link/in"),)) == "in"
    assert not Path("/tmp/escaped").exists()
    assert (box.root / "tmp/escaped/in").is_dir()


def test_a_link_cannot_make_a_fake_proc(box: Box) -> None:
    spec = box.spec("true")
    (box.root / "link").symlink_to("/tmp")
    moved = tuple(replace(mount, destination="/link") if mount.type == "proc" else mount for mount in spec.mounts)
    assert "it must be mounted on an ordinary directory" in box.start(replace(spec, mounts=moved)).done().error


def test_nothing_is_mounted_inside_proc(box: Box, tmp_path: Path) -> None:
    (box.root / "link").symlink_to("/proc/self")
    for target in ("/proc/sys", "/link/attr"):
        assert "cannot be mounted because it is inside /proc" in box.run("true", mounts=(bind(tmp_path, target),)).error
    (tmp_path / "f").write_text("mine")
    assert box.sh("cat /proc/uptime", mounts=(bind(tmp_path / "f", "/proc/uptime"),)) == "mine"


def test_mounts_made_later_show_where_propagation_says_so(box: Box, tmp_path: Path) -> None:
    syscalls.mount("t", tmp_path, "tmpfs")
    syscalls.mount(None, tmp_path, None, syscalls.MS_SHARED)
    try:
        (tmp_path / "in").mkdir()
        wait = "until test -e /go; do sleep 0.02; done; ls /v/in"
        for propagation, seen in (("rslave", "seen"), ("rprivate", "")):
            (box.root / "go").unlink(missing_ok=True)
            mounts = (bind(tmp_path, "/v", propagation=propagation),)
            running = box.start(box.spec("sh", "-c", wait, mounts=mounts))
            syscalls.mount("u", tmp_path / "in", "tmpfs")
            (tmp_path / "in/seen").touch()
            (box.root / "go").touch()
            assert running.done().output.strip() == seen
            syscalls.umount2(tmp_path / "in")
        spec = box.spec(
            "sh",
            "-c",
            "mount -t tmpfs x /v/in && touch /v/in/made",
            cap_add=("SYS_ADMIN",),
            mounts=(bind(tmp_path, "/v", propagation="rshared"),),
        )
        assert box.start(spec).done().code == 0
        assert (tmp_path / "in/made").exists()
        syscalls.umount2(tmp_path / "in")
    finally:
        syscalls.umount2(tmp_path, syscalls.MNT_DETACH)
        (box.root / "go").unlink(missing_ok=True)


def test_the_hosts_mounts_stay(box: Box) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    for propagation in ("", "rslave", "rshared", "rprivate"):
        assert box.start(with_linux(box.spec("true"), rootfs_propagation=propagation)).done().code == 0
    assert Path("/proc/self/mountinfo").read_text() == before


# --- namespaces of others, execs ---


def test_namespaces_of_another_container(box: Box) -> None:
    first = box.start(box.spec("sh", "-c", "touch /dev/shm/mark; exec sleep 30"))
    time.sleep(0.1)
    at = f"/proc/{first.pid}/ns/"
    joined = {"pid": f"{at}pid", "ipc": f"{at}ipc", "network": f"{at}net", "uts": f"{at}uts"}
    output = box.sh(
        "ps | grep -c 'sleep 30'; ls /dev/shm; readlink /proc/self/ns/net",
        namespaces=joined,
        files={"/dev/shm": f"/proc/{first.pid}/root/dev/shm"},
        network_mode="container:first",
    )
    net = os.readlink(f"{at}net")
    os.kill(first.pid, 9)
    first.done()
    assert output.split("\n")[1:] == ["mark", net]
    assert int(output[0]) >= 1


def test_namespaces_of_the_host(box: Box) -> None:
    host = dict.fromkeys(("pid", "ipc", "network", "uts", "cgroup"), "host")
    output = box.sh(
        "for ns in pid ipc net uts cgroup; do readlink /proc/self/ns/$ns; done; readlink /proc/self/ns/mnt", namespaces=host
    )
    *same, mnt = output.split("\n")
    assert same == [os.readlink(f"/proc/self/ns/{name}") for name in ("pid", "ipc", "net", "uts", "cgroup")]
    assert mnt != os.readlink("/proc/self/ns/mnt")


def test_a_user_and_a_time_namespace(box: Box) -> None:
    spec = box.spec("sh", "-c", "id -u; touch /tmp/mine; cat /proc/self/timens_offsets; head -c1 /dev/zero >/dev/null")
    maps = (IdMapping(container_id=0, host_id=100_000, size=65_536),)
    os.chown(box.root / "tmp", 100_000, 100_000)
    spec = with_linux(
        spec,
        namespaces=(*spec.linux.namespaces, Namespace(type="user"), Namespace(type="time")),
        uid_mappings=maps,
        gid_mappings=maps,
        time_offsets={"boottime": TimeOffset(secs=1000)},
        sysctl={},
    )
    for path in ("proc", "sys", "dev"):
        (box.root / path).mkdir(exist_ok=True)
    done = box.start(spec).done()
    assert done.error == ""
    assert done.output.split()[0] == "0"
    assert "1000" in done.output
    assert (box.root / "tmp/mine").stat().st_uid == 100_000
    os.chown(box.root / "tmp", 0, 0)


def test_execs(box: Box) -> None:
    spec = box.spec("sleep", "30")
    container = box.start(spec)
    try:
        assert (
            box.execute(container, spec, "sh", "-c", "echo $$; hostname; readlink /proc/1/ns/net").output.split("\n")[1]
            == "box"
        )
        same = "for ns in mnt net ipc uts pid cgroup; do test $(readlink /proc/1/ns/$ns) = $(readlink /proc/self/ns/$ns) || echo $ns; done"
        assert box.execute(container, spec, "sh", "-c", same).output == ""
        assert box.execute(container, spec, "id", user="web").output.startswith("uid=33(web)")
        assert box.execute(container, spec, "sh", "-c", "grep Seccomp: /proc/self/status").output == "Seccomp:\t2\n"
        assert box.execute(container, spec, "sh", "-c", OPEN_FDS).output.split() == [f"/proc/self/fd/{n}" for n in range(3)]
        assert (
            box.execute(container, spec, "sh", "-c", "tty; stty size", tty=True, console_size=(5, 6)).output
            == "/dev/pts/0\r\n5 6\r\n"
        )
        assert box.execute(container, spec, "nosuch").code == 127
        for directory in ("/nowhere", "/proc/self/fd/3", "/proc/self/fd/5"):
            assert "chdir to cwd" in box.execute(container, spec, "ls", working_dir=directory).error
    finally:
        os.kill(container.pid, 9)
        container.done()
    assert os.readlink("/proc/self/ns/pid") == os.readlink("/proc/self/ns/pid_for_children")


def test_mounts_on_files_of_the_engine(box: Box, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n")
    assert box.sh("cat /etc/hosts", files={"/etc/hosts": str(tmp_path / "hosts")}) == "127.0.0.1 localhost"


def test_a_mount_by_options_alone(box: Box, tmp_path: Path) -> None:
    spec = box.spec("sh", "-c", "mount | grep ' /m '")
    extra = RuntimeMount(destination="/m", type="none", source=str(tmp_path), options=("rbind", "nosuid", "noexec", "noatime"))
    assert "nosuid,noexec,noatime" in box.start(replace(spec, mounts=(*spec.mounts, extra))).done().output


def test_no_end_without_a_report(box: Box) -> None:
    plan = start_plan(box.spec("true"), rootfs=(Mount("bind", str(box.root)),), mountpoint=str(box.mountpoint), host=HOST)
    plan["steps"].insert(3, ["hostname"])
    assert "internal error in the step hostname" in Running(plan).done().error


def test_a_control_group_of_version_2_at_birth(box: Box) -> None:
    """CLONE_INTO_CGROUP, and the cgroup namespace rooted there."""
    unified = Path("/sys/fs/cgroup/unified" if HOST.cgroup_version == 1 else "/sys/fs/cgroup")
    if not (unified / "cgroup.procs").exists():
        pytest.skip("no cgroup v2 hierarchy is mounted")
    group = unified / f"orlop-test-{os.getpid()}"
    group.mkdir()
    fd = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
    try:
        plan = start_plan(
            box.spec("sh", "-c", "grep ^0:: /proc/self/cgroup; mount | grep cgroup2; echo $(cat /sys/fs/cgroup/cgroup.procs)"),
            rootfs=(Mount("bind", str(box.root)),),
            mountpoint=str(box.mountpoint),
            host=replace(HOST, cgroup_version=2),
        )
        done = Running(plan, cgroup_fd=fd).done()
    finally:
        os.close(fd)
        os.rmdir(group)
    lines = done.output.split("\n")
    assert lines[0] == "0::/"
    assert lines[1].startswith("cgroup on /sys/fs/cgroup type cgroup2 (ro,")
    assert lines[2].split()[0] == "1"
