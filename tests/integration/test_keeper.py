"""runtime/isolation.py with a real keeper: what a container prints, takes and returns, also when the keeper is killed."""

import asyncio
import json
import os
import shutil
import signal
import struct
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from orlop.kernel import cgroups, probe, process, syscalls
from orlop.runtime.isolation import ProcessIsolation
from orlop.spec.errors import Conflict, NotFound, StartFailed
from orlop.spec.isolation import ExecOrder, LogFile, StartOrder
from orlop.spec.mounts import Mount
from orlop.spec.resources import Resources
from orlop.spec.runtime import (
    ConsoleSize,
    Cpu,
    Linux,
    LinuxResources,
    Memory,
    Namespace,
    Root,
    RuntimeMount,
    RuntimeProcess,
    RuntimeSpec,
)
from support.engine import PATIENCE, end, until

pytestmark = pytest.mark.root

APPLETS = ["sh", "true", "cat", "echo", "sleep", "yes", "head", "seq", "stty", "tty", "wc", "dd", "kill", "sync"]
HOST = probe.probe()
TELLS = HOST.kernel >= (6, 15)  # the kernel tells how a process ended after a stranger has reaped it


async def soon(condition):
    """Wait until it is so, while the loop runs."""
    for _ in range(int(2000 * PATIENCE)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"not in time: {condition}")


class Wall:
    """An isolation with a home of its own, and the ends that it has told."""

    def __init__(self, home: Path):
        self.home, self.run = home, home / "run"
        self.parent = f"/orlop-keeper-{home.name}"
        self.tasks = set()
        self.reset()

    def reset(self):
        """As a new daemon: nothing is known."""
        self.isolation = ProcessIsolation(self.run, HOST, self.spawn)
        self.exits = {}
        self.told = []

    def spawn(self, coroutine):
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def on_exit(self, exit_):
        self.told.append(exit_)
        self._exit(exit_.container_id, exit_.exec_id).set_result(exit_)

    def _exit(self, container, exec_id=""):
        return self.exits.setdefault((container, exec_id), asyncio.get_running_loop().create_future())

    async def ended(self, container, exec_id="", seconds=20):
        """The end of a process, acknowledged."""
        exit_ = await asyncio.wait_for(self._exit(container, exec_id), seconds * PATIENCE)
        await self.isolation.acknowledge(container, exec_id)
        return exit_

    def order(self, name, *args, tty=False, resources=None, max_bytes=0, max_files=1, **options):
        mountpoint = self.home / "mnt" / name
        mountpoint.mkdir(parents=True, exist_ok=True)
        kinds = ("pid", "mount", "ipc", "uts", "cgroup", "network")
        spec = RuntimeSpec(
            process=RuntimeProcess(
                args=args, env=("PATH=/bin",), terminal=tty, console_size=ConsoleSize(height=24, width=80) if tty else None
            ),
            root=Root(),
            hostname="box",
            mounts=(
                RuntimeMount(destination="/proc", type="proc", source="proc"),
                RuntimeMount(destination="/dev", type="tmpfs", source="tmpfs", options=("nosuid", "mode=755")),
                RuntimeMount(
                    destination="/dev/pts",
                    type="devpts",
                    source="devpts",
                    options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
                ),
            ),
            linux=Linux(
                namespaces=tuple(Namespace(type=kind) for kind in kinds),
                cgroups_path=f"{self.parent}/{name}",
                resources=resources or LinuxResources(),
            ),
        )
        return StartOrder(
            container_id=name,
            runtime_spec=spec,
            rootfs=(Mount("bind", str(self.home / "rootfs"), ("rbind", "rw")),),
            mountpoint=str(mountpoint),
            tty=tty,
            log=LogFile(path=str(self.home / f"{name}.log"), max_bytes=max_bytes, max_files=max_files),
            **options,
        )

    def log(self, name, stream=""):
        """All that is in a container's log files, oldest first."""
        paths = sorted(self.home.glob(f"{name}.log*"), key=lambda path: -int(path.suffix[1:]) if path.suffix != ".log" else 0)
        entries = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
        return "".join(entry["log"] for entry in entries if stream in ("", entry["stream"]))

    @property
    def keeper(self):
        return int((self.run / "keeper.pid").read_text())

    @property
    def holder(self):
        found = subprocess.run(["pgrep", "-f", f"orlop-keeper-holder {self.run}"], capture_output=True, text=True, check=False)
        return int(found.stdout.split()[0]) if found.stdout else 0

    def spares(self):
        """The children that wait for a plan."""
        children = Path(f"/proc/{self.keeper}/task/{self.keeper}/children").read_text().split()
        titles = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children if Path(f"/proc/{pid}").exists()}
        return [pid for pid, title in titles.items() if title.startswith(b"orlop-keeper-spare")]

    def wards(self):
        """Keys of what the keeper's book holds."""
        found = set()
        for line in (self.run / "wards.jsonl").read_text().splitlines():
            entry = json.loads(line)
            (found.add if len(entry) > 1 else found.discard)(entry["key"])
        return found

    async def kill_keeper(self):
        old = self.keeper
        os.kill(old, signal.SIGKILL)
        await soon(lambda: (self.run / "keeper.pid").exists() and self.keeper != old)


@pytest.fixture(scope="module")
def rootfs():
    home = Path(tempfile.mkdtemp(prefix="orlop-k"))
    for name in ("bin", "proc", "sys", "dev", "tmp"):
        (home / "rootfs" / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", home / "rootfs/bin/busybox")
    for applet in APPLETS:
        (home / "rootfs/bin" / applet).symlink_to("busybox")
    yield home / "rootfs"
    shutil.rmtree(home)


@pytest.fixture
def wall(rootfs):
    home = Path(tempfile.mkdtemp(prefix="orlop-k"))
    (home / "rootfs").symlink_to(rootfs)
    (home / "run").mkdir()
    syscalls.mount("tmpfs", home / "run", "tmpfs")  # as /run is
    made = Wall(home)
    try:
        yield made
        until(lambda: not made.holder, 15, "holder and keeper end when nothing is left to do")
        assert not cgroups.Cgroup(made.parent, cgroups.layout()).exists()
        assert {path.name for path in (home / "run").iterdir()} == {"keeper.sock", "keeper.log"}
        log = (home / "run/keeper.log").read_text()
        assert "Traceback" not in log, log
    finally:
        for pid in filter(None, (made.holder, _keeper_of(made))):
            end(pid)
        group = cgroups.Cgroup(made.parent, cgroups.layout())
        until(group.kill)
        until(group.remove)
        subprocess.run(["umount", "-l", str(home / "run")], check=True)
        shutil.rmtree(home)


def _keeper_of(wall):
    try:
        return wall.keeper
    except FileNotFoundError:
        return 0


def play(wall, story):
    """Run a story as the daemon would."""

    async def whole():
        assert await wall.isolation.open(wall.on_exit) == []
        try:
            async with asyncio.timeout(60):
                await story(wall.isolation)
        finally:
            for container in {key[0] for key in wall.exits} | wall.wards():
                await wall.isolation.remove(container)
            await wall.isolation.close()

    asyncio.run(whole())


def frames(data):
    """What each stream got, from Docker's frames."""
    got = {1: b"", 2: b""}
    while data:
        stream, length = struct.unpack(">BxxxI", data[:8])
        got[stream] += data[8 : 8 + length]
        data = data[8 + length :]
    return got[1], got[2]


async def read_all(connection):
    loop = asyncio.get_running_loop()
    data = b""
    while block := await asyncio.wait_for(loop.sock_recv(connection, 65536), 10 * PATIENCE):
        data += block
    connection.close()
    return data


async def read_until(connection, wanted):
    loop = asyncio.get_running_loop()
    data = b""
    while wanted not in data:
        block = await asyncio.wait_for(loop.sock_recv(connection, 65536), 10 * PATIENCE)
        assert block, data
        data += block
    return data


ALL = {"stdin": True, "stdout": True, "stderr": True, "tty": False}


# --- starts and ends ---


def test_output_goes_to_the_log_and_the_code_comes_back(wall):
    async def story(isolation):
        started = await isolation.start(wall.order("a", "sh", "-c", "echo out; echo err >&2; echo -n tail; exit 3"))
        exit_ = await wall.ended("a")
        assert started.start_ticks > 0
        assert (exit_.exit_code, exit_.oom_killed) == (3, False)
        assert (wall.log("a", "stdout"), wall.log("a", "stderr")) == ("out\ntail", "err\n")
        await isolation.start(wall.order("a", "sh", "-c", "kill -9 $$; echo only children of init die of that; exit 4"))
        assert (await wall_again(wall, "a")).exit_code == 4

    play(wall, story)


async def wall_again(wall, name):
    del wall.exits[name, ""]
    return await wall.ended(name)


def test_a_start_that_fails_leaves_nothing(wall):
    async def story(isolation):
        early = await isolation.attach("a", **ALL)
        with pytest.raises(StartFailed, match='exec: "nonesuch": executable file not found') as caught:
            await isolation.start(wall.order("a", "nonesuch"))
        assert caught.value.exit_code == 127
        assert await read_all(early) == b""
        assert wall.wards() == set()
        assert not cgroups.Cgroup(f"{wall.parent}/a", cgroups.layout()).exists()
        with pytest.raises(NotFound):
            await isolation.kill("a", signal.SIGTERM)

    play(wall, story)


def test_a_limit_that_the_kernel_refuses_fails_the_start(wall):
    async def story(isolation):
        resources = LinuxResources(cpu=Cpu(cpus="4000"))
        with pytest.raises(StartFailed, match=r"cannot set cpuset\.cpus to 4000"):
            await isolation.start(wall.order("a", "true", resources=resources))
        assert not cgroups.Cgroup(f"{wall.parent}/a", cgroups.layout()).exists()

    play(wall, story)


def test_a_container_runs_once(wall):
    async def story(isolation):
        await isolation.start(wall.order("a", "sleep", "60"))
        with pytest.raises(Conflict, match="is running already"):
            await isolation.start(wall.order("a", "true"))

    play(wall, story)


def test_signals_reach_the_process_and_removal_kills(wall):
    async def story(isolation):
        await isolation.start(wall.order("a", "sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"))
        until(lambda: wall.log("a") == "ready\n")
        await isolation.kill("a", signal.SIGTERM)
        assert (await wall.ended("a")).exit_code == 9
        await isolation.start(wall.order("b", "sleep", "60"))
        await isolation.pause("b")
        await isolation.remove("b")
        assert (await wall.ended("b")).exit_code == 137
        assert not cgroups.Cgroup(f"{wall.parent}/b", cgroups.layout()).exists()
        await isolation.remove("b")

    play(wall, story)


def test_an_end_is_kept_until_it_is_acknowledged(wall):
    async def story(isolation):
        await isolation.start(wall.order("a", "sh", "-c", "exit 7"))
        await asyncio.wait_for(wall._exit("a"), 5 * PATIENCE)
        await isolation.close()
        await soon(lambda: not wall.holder)  # nothing runs: the keeper has ended too
        wall.reset()
        (living,) = await wall.isolation.open(wall.on_exit)
        assert living.exit
        assert (living.container_id, living.exit.exit_code) == ("a", 7)
        await wall.isolation.acknowledge("a")
        await wall.isolation.close()
        wall.reset()
        assert await wall.isolation.open(wall.on_exit) == []

    play(wall, story)


# --- attached clients ---


def test_a_client_attached_before_the_start_misses_nothing(wall):
    async def story(isolation):
        client = await isolation.attach("a", **ALL)
        await isolation.start(wall.order("a", "sh", "-c", "echo 1; cat; echo 2 >&2", open_stdin=True, stdin_once=True))

        async def type_in():
            await asyncio.get_running_loop().sock_sendall(client, b"typed\n" * 50_000)
            client.shutdown(1)

        output, _ = await asyncio.gather(read_all(client), type_in())
        assert frames(output) == (b"1\n" + b"typed\n" * 50_000, b"2\n")
        assert (await wall.ended("a")).exit_code == 0
        assert wall.log("a", "stdout") == "1\n" + "typed\n" * 50_000

    play(wall, story)


def test_output_comes_to_clients_before_its_line_is_complete(wall):
    async def story(isolation):
        client = await isolation.attach("a", **ALL)
        await isolation.start(
            wall.order("a", "sh", "-c", "echo -n 'name? '; read x; echo hello $x", open_stdin=True, stdin_once=True)
        )
        assert frames(await read_until(client, b"name? "))[0] == b"name? "
        late = await isolation.attach("a", **{**ALL, "stdin": False})
        await asyncio.get_running_loop().sock_sendall(client, b"you\n")
        assert frames(await read_all(client))[0] == b"hello you\n"
        assert frames(await read_all(late))[0] == b"hello you\n", "what came before is not repeated"
        await wall.ended("a")
        assert wall.log("a") == "name? hello you\n"

    play(wall, story)


def test_a_client_that_does_not_read_holds_up_its_container_alone(wall):
    async def story(isolation):
        lazy = await isolation.attach("a", **{**ALL, "stdin": False})
        await isolation.start(wall.order("a", "sh", "-c", "seq 200000; echo done"))
        await isolation.start(wall.order("b", "sh", "-c", "seq 1000"))
        await wall.ended("b")
        assert wall.log("b").count("\n") == 1000
        assert "done" not in (wall.home / "a.log").read_text()
        out, _ = frames(await read_all(lazy))
        assert out == b"".join(b"%d\n" % n for n in range(1, 200_001)) + b"done\n"
        await wall.ended("a")
        assert wall.log("a").endswith("200000\ndone\n")

    play(wall, story)


def test_a_terminal(wall):
    async def story(isolation):
        client = await isolation.attach("a", **{**ALL, "tty": True})
        await isolation.start(wall.order("a", "sh", tty=True, open_stdin=True))
        loop = asyncio.get_running_loop()
        await read_until(client, b"# ")
        await loop.sock_sendall(client, b"stty size; tty\n")
        assert b"24 80\r\n/dev/pts/0\r\n" in await read_until(client, b"pts/0")
        await isolation.resize("a", 50, 132)
        await loop.sock_sendall(client, b"stty size\n")
        await read_until(client, b"50 132")
        await loop.sock_sendall(client, b"exit 5\n")
        await read_all(client)
        assert (await wall.ended("a")).exit_code == 5
        assert "50 132\r\n" in wall.log("a")

    play(wall, story)


# --- further processes ---


def exec_order(container, name, *args, **options):
    process_ = RuntimeProcess(args=args, env=("PATH=/bin",), terminal=options.get("tty", False))
    return ExecOrder(container_id=container, exec_id=name, process=process_, **options)


def test_an_exec_has_its_own_output_input_and_code(wall):
    async def story(isolation):
        await isolation.start(wall.order("a", "sleep", "60"))
        client = await isolation.attach("a", "e1", **ALL)
        await isolation.execute(exec_order("a", "e1", "sh", "-c", "cat; echo err >&2; exit 6", attach_stdin=True))
        await asyncio.get_running_loop().sock_sendall(client, b"in\n")
        client.shutdown(1)
        assert frames(await read_all(client)) == (b"in\n", b"err\n")
        assert (await wall.ended("a", "e1")).exit_code == 6
        assert wall.log("a") == ""
        with pytest.raises(StartFailed) as caught:
            await isolation.execute(exec_order("a", "e2", "nonesuch"))
        assert caught.value.exit_code == 127
        assert len(await isolation.pids("a")) == 1
        assert wall.wards() == {"a"}

    play(wall, story)


def test_an_exec_that_leaves_a_child_behind_ends_all_the_same(wall):
    async def story(isolation):
        await isolation.start(wall.order("a", "sleep", "60"))
        client = await isolation.attach("a", "e1", **ALL)
        await isolation.execute(exec_order("a", "e1", "sh", "-c", "yes & echo started", attach_stdin=False))
        assert b"started\n" in frames(await read_all(client))[0]
        assert (await wall.ended("a", "e1")).exit_code == 0
        assert len(await isolation.pids("a")) == 2, "and the child runs on"

    play(wall, story)


def test_an_exec_with_a_terminal(wall):
    async def story(isolation):
        await isolation.start(wall.order("a", "sleep", "60"))
        client = await isolation.attach("a", "e1", **{**ALL, "tty": True})
        await isolation.execute(exec_order("a", "e1", "sh", "-c", "read x; stty size; exit 3", tty=True, attach_stdin=True))
        await isolation.resize("a", 33, 99, "e1")
        await asyncio.get_running_loop().sock_sendall(client, b"x\n")
        assert b"33 99" in await read_all(client)
        assert (await wall.ended("a", "e1")).exit_code == 3

    play(wall, story)


# --- limits ---


def test_pause_stats_update_pids(wall):
    async def story(isolation):
        await isolation.start(wall.order("a", "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; done"))
        await isolation.pause("a")
        before = (await isolation.stats("a")).cpu_total_ns
        await asyncio.sleep(0.1)
        assert (await isolation.stats("a")).cpu_total_ns == before > 0
        await isolation.close()
        wall.reset()
        (living,) = await wall.isolation.open(wall.on_exit)
        assert living.paused
        await wall.isolation.resume("a")
        await asyncio.sleep(0.1)
        assert (await wall.isolation.stats("a")).cpu_total_ns > before
        await wall.isolation.update("a", Resources(memory_bytes=32 << 20, pids_limit=5))
        stats = await wall.isolation.stats("a")
        assert (stats.memory_limit_bytes, stats.pids_limit, stats.pids_current) == (32 << 20, 5, 1)
        assert await wall.isolation.pids("a") == [living.process.pid]

    play(wall, story)


def test_an_oom_kill_is_told(wall):
    async def story(isolation):
        resources = LinuxResources(memory=Memory(limit=16 << 20, swap=16 << 20))
        await isolation.start(wall.order("a", "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", resources=resources))
        exit_ = await wall.ended("a")
        assert (exit_.exit_code, exit_.oom_killed) == (137, True)

    play(wall, story)


# --- kill -9 ---

COUNT = "i=0; while [ $i -lt {count} ]; do echo line $i; i=$((i+1)); done; exit {code}"


def counted(count):
    return "".join(f"line {number}\n" for number in range(count))


def test_five_containers_log_while_keepers_are_killed(wall):
    async def story(isolation):
        for number in range(5):
            script = COUNT.format(count=8000, code=10 + number)
            await isolation.start(wall.order(f"c{number}", "sh", "-c", script, max_bytes=20_000, max_files=60))
        for _ in range(6):
            await asyncio.sleep(0.05)
            await wall.kill_keeper()
        for number in range(5):
            assert (await wall.ended(f"c{number}")).exit_code == 10 + number
            assert wall.log(f"c{number}") == counted(8000)
        assert len(wall.told) == 5, "each end is told once"

    play(wall, story)


def test_blocks_and_long_lines_survive_too(wall):
    async def story(isolation):
        await isolation.start(wall.order("a", "sh", "-c", "yes 0123456789abcdef | head -c 20000000; echo; exit 8"))
        await isolation.start(wall.order("b", "sh", "-c", "dd if=/dev/zero bs=1000 count=3000 2>/dev/null"))
        for _ in range(5):
            await asyncio.sleep(0.02)
            await wall.kill_keeper()
        assert (await wall.ended("a")).exit_code == 8
        assert wall.log("a") == ("0123456789abcdef\n" * 1_176_471)[:20_000_000] + "\n"
        await wall.ended("b")
        assert wall.log("b") == "\0" * 3_000_000

    play(wall, story)


def test_codes_are_known_though_daemon_and_keeper_were_dead(wall):
    async def story(isolation):
        await isolation.start(wall.order("a", "sh", "-c", "echo before; sleep 0.3; echo after; exit 42"))
        await isolation.start(wall.order("b", "sleep", "60"))
        os.kill(wall.keeper, signal.SIGSTOP)  # it hears of nothing
        await isolation.close()
        await asyncio.sleep(0.6)
        await wall.kill_keeper()
        wall.reset()
        living = {each.container_id: each for each in await wall.isolation.open(wall.on_exit)}
        if living["a"].exit is None:
            await wall.ended("a")
        assert (living["a"].exit or wall.told[0]).exit_code == 42
        assert wall.log("a") == "before\nafter\n"
        assert living["b"].exit is None
        assert process.is_alive(living["b"].process)

    play(wall, story)


def test_holder_and_keeper_killed_at_once(wall):
    async def story(isolation):
        lines = 40 if PATIENCE == 1 else 160  # it must live longer than the next keeper takes to come
        script = f"i=0; while [ $i -lt {lines} ]; do echo line $i; i=$((i+1)); sleep 0.02; done; exit 21"
        await isolation.start(wall.order("a", "sh", "-c", script))
        await isolation.start(wall.order("b", "sleep", "0.1"))
        await asyncio.sleep(0.2)
        holder, keeper = wall.holder, wall.keeper
        os.kill(holder, signal.SIGKILL)
        os.kill(keeper, signal.SIGKILL)
        exit_ = await wall.ended("a")
        assert wall.log("a") == counted(lines)
        assert exit_.exit_code == 21 or (exit_.exit_code is None and not TELLS)
        assert (wall.holder, wall.keeper) != (holder, keeper)

    play(wall, story)


def test_a_killed_holder_is_replaced(wall):
    async def story(isolation):
        await isolation.start(wall.order("a", "sh", "-c", "read x; echo got $x; exit 4", open_stdin=True, stdin_once=True))
        old = wall.holder
        os.kill(old, signal.SIGKILL)
        await soon(lambda: wall.holder not in (0, old))
        await wall.kill_keeper()
        client = await isolation.attach("a", **ALL)
        await asyncio.get_running_loop().sock_sendall(client, b"it\n")
        assert frames(await read_all(client))[0] == b"got it\n"
        code = (await wall.ended("a")).exit_code
        assert code == 4 or (code is None and not TELLS)

    play(wall, story)


def test_a_terminal_and_an_exec_survive(wall):
    async def story(isolation):
        await isolation.start(wall.order("a", "sh", tty=True, open_stdin=True))
        await isolation.execute(exec_order("a", "e", "sh", "-c", "sleep 0.4; exit 17"))
        await wall.kill_keeper()
        client = await isolation.attach("a", **{**ALL, "tty": True})
        await asyncio.get_running_loop().sock_sendall(client, b"echo $((6*7)); exit 3\n")
        assert b"42\r\n" in await read_all(client)
        assert (await wall.ended("a")).exit_code == 3
        await asyncio.wait_for(wall._exit("a", "e"), 5 * PATIENCE)

    play(wall, story)


def test_a_start_cut_short_is_cleared_away(wall):
    async def story(isolation):
        await isolation.start(wall.order("a", "sleep", "60"))
        book = wall.run / "wards.jsonl"
        lines = book.read_bytes().splitlines(keepends=True)
        book.write_bytes(lines[0] + lines[1][:-9])  # as if killed in the middle of writing
        await wall.kill_keeper()
        assert (await wall.ended("a")).exit_code is None
        group = cgroups.Cgroup(f"{wall.parent}/a", cgroups.layout())
        await soon(lambda: not group.exists())

    play(wall, story)


def test_a_damaged_book_does_not_keep_the_keeper_from_living(wall):
    intent = {"container": "x", "exec": "", "tty": False, "stdin_once": False, "log": None, "cgroup": f"{wall.parent}/x"}
    lines = [
        json.dumps({"key": "x", **intent}),
        "\0\0 not JSON",
        json.dumps({"key": "y/e", **intent, "container": "y", "exec": "e"}),
    ]
    (wall.run / "wards.jsonl").write_text("\n".join(lines) + '\n{"key":"z","cont')

    async def story(isolation):
        await isolation.start(wall.order("x", "sh", "-c", "exit 3"))
        assert (await wall.ended("x")).exit_code == 3

    play(wall, story)


# --- the keeper itself ---


def test_its_program_cannot_be_written_to(wall):
    async def story(isolation):
        assert os.statvfs(f"/proc/{wall.keeper}/exe").f_flag & os.ST_RDONLY
        with pytest.raises(OSError, match=r"Text file busy|Read-only file system"):
            os.open(f"/proc/{wall.keeper}/exe", os.O_WRONLY)

    play(wall, story)


def test_it_is_small_and_grows_little(wall):
    async def story(isolation):
        def proportional_kb():
            return sum(
                int(Path(f"/proc/{pid}/smaps_rollup").read_text().split("Pss:")[1].split()[0])
                for pid in (wall.keeper, wall.holder)
            )

        await isolation.start(wall.order("first", "sleep", "60"))
        before = proportional_kb()
        for number in range(20):
            await isolation.start(wall.order(f"c{number}", "sleep", "60"))
        assert before < 20_000
        assert (proportional_kb() - before) / 20 < 50

    play(wall, story)


# --- the child that waits ---


@pytest.mark.skipif(cgroups.layout().version == 2, reason="on cgroup version 2 a container is born in its group")
def test_the_next_container_is_the_child_that_waits(wall):
    async def story(isolation):
        await isolation.start(wall.order("a", "true"))
        await wall.ended("a")
        await soon(wall.spares)
        (spare,) = wall.spares()
        beside = wall.home / "beside"  # the mount is made while it waits, and must be seen
        beside.mkdir()
        syscalls.mount("tmpfs", beside, "tmpfs")
        try:
            (beside / "file").write_text("new\n")
            order = wall.order("b", "sh", "-c", "echo $$; cat /tmp/file; sleep 100")
            mount = RuntimeMount(destination="/tmp", type="bind", source=str(beside), options=("bind",))
            spec = replace(order.runtime_spec, mounts=(*order.runtime_spec.mounts, mount))
            started = await isolation.start(replace(order, runtime_spec=spec))
            await soon(lambda: wall.log("b") == "1\nnew\n")
            assert started.pid == spare
            assert f"{wall.parent}/b" in Path(f"/proc/{spare}/cgroup").read_text()
        finally:
            await isolation.remove("b")
            syscalls.umount2(str(beside), syscalls.MNT_DETACH)

    play(wall, story)


@pytest.mark.skipif(cgroups.layout().version == 2, reason="on cgroup version 2 a container is born in its group")
def test_a_waiting_child_that_dies_is_replaced_and_goes_with_its_keeper(wall):
    async def story(isolation):
        for name in ("a", "b"):
            await isolation.start(wall.order(name, "true"))
            await wall.ended(name)
            await soon(wall.spares)
            os.kill(wall.spares()[0], signal.SIGKILL)
            await soon(lambda: not wall.spares())
        started = await isolation.start(wall.order("c", "sh", "-c", "exit 5"))
        assert (await wall.ended("c")).exit_code == 5
        await soon(wall.spares)
        (spare,) = wall.spares()
        assert spare != started.pid
        await wall.kill_keeper()
        await soon(lambda: not Path(f"/proc/{spare}").exists())

    play(wall, story)
