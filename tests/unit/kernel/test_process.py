"""kernel/process.py: programs run and spawned, processes met again."""

import os
import signal
import sys

import pytest

from orlop.kernel import process
from orlop.spec.container import Process


def test_run_returns_output_and_code():
    result = process.run([sys.executable, "-c", "import sys; sys.stdout.write(sys.stdin.read()[::-1])"], stdin=b"abc")
    assert (result.code, result.text) == (0, "cba")


def test_run_fails_with_the_last_line_of_stderr():
    with pytest.raises(process.CommandFailed, match="cannot run sh: it is broken") as caught:
        process.run(["sh", "-c", "echo first >&2; echo it is broken >&2; exit 3"])
    assert caught.value.code == 3
    assert caught.value.stderr == "first\nit is broken\n"
    assert process.run(["sh", "-c", "exit 3"], check=False).code == 3


def test_run_names_a_program_that_is_not_there_and_one_that_hangs():
    with pytest.raises(process.CommandFailed, match="cannot run no-such-program: No such file"):
        process.run(["no-such-program"])
    with pytest.raises(process.CommandFailed, match=r"no end after 0\.05 seconds"):
        process.run(["sleep", "5"], timeout_seconds=0.05)


def test_spawn_gives_name_descriptors_and_a_session():
    reader, writer = os.pipe()
    # 3 and 4 crossed on purpose: sources must not be overwritten by targets
    script = 'tr "\\0" " " < /proc/$$/cmdline >&3; ls /proc/$$/fd | tr "\\n" " " >&3; ps -o sid= -p $$ >&3'
    pid = process.spawn("/bin/sh", ["my-name", "-c", script], fds={3: writer, 4: reader})
    os.close(writer)
    os.waitpid(pid, 0)
    told = os.read(reader, 10000).decode()
    os.close(reader)
    assert told.startswith("my-name -c")
    assert set(told.split("-p $$ >&3")[1].split()[:-1]) <= {"0", "1", "2", "3", "4", "10"}  # 10: dash reading itself
    assert int(told.split()[-1]) == pid


def test_spawned_children_have_default_signals():
    reader, writer = os.pipe()
    pid = process.spawn("/bin/grep", ["grep", "SigIgn", "/proc/self/status"], fds={1: writer})
    os.close(writer)
    os.waitpid(pid, 0)
    assert int(os.read(reader, 100).split()[1], 16) & (1 << signal.SIGPIPE - 1) == 0
    os.close(reader)


def test_identity_tells_a_process_from_another_with_its_pid():
    pid = process.spawn("/bin/sleep", ["sleep", "30"])
    me = process.identify(pid)
    assert process.is_alive(me)
    assert not process.is_alive(Process(pid=pid, start_ticks=me.start_ticks - 1))
    with pytest.raises(ProcessLookupError):
        process.open_pidfd(pid, me.start_ticks - 1)
    pidfd = process.open_pidfd(pid, me.start_ticks)
    assert not process.wait_end(pidfd, 0.01)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert process.wait_end(pidfd, 5)
    assert not process.is_alive(me), "a zombie does not live"
    assert process.zombie_status(pid, me.start_ticks) == signal.SIGKILL
    assert process.zombie_status(pid, me.start_ticks - 1) is None
    os.waitpid(pid, 0)
    os.close(pidfd)
    with pytest.raises(ProcessLookupError):
        process.identify(pid)
