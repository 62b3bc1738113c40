"""kill -9 of the daemon, of the keeper, and of both: containers run on, no log line is missing, exit codes are true."""

import time

import pytest

from support.engine import PATIENCE, Engine, end, until
from support.leftovers import leftovers

pytestmark = pytest.mark.root

COUNT, PAUSE = (20, 0.05) if PATIENCE == 1 else (9, 1)  # containers; seconds between their lines
SCRIPT = """trap 'over=1' USR1; i=0
while [ -z "$over" ]; do echo line $i; echo err $i >&2; i=$((i+1)); sleep {pause}; done
echo total $i; exit {code}"""


def test_everything_survives_and_nothing_stays_behind(own_engine: Engine) -> None:
    engine = own_engine
    engine.docker("run", "--rm", "busybox", "true")
    clean = until(lambda: _settled(engine), 20)
    for number in range(COUNT):
        options = ("--network", "bridge", "-p", f"{41000 + number}:80") if number < 4 else ("--network", "none")
        script = SCRIPT.format(code=number, pause=PAUSE)
        engine.docker("run", "-d", "--name", f"c{number}", *options, "busybox", "sh", "-c", script)
    pids = {number: engine.inspect(f"c{number}")["State"]["Pid"] for number in range(COUNT)}
    engine.kill()
    time.sleep(0.3)
    engine.start()
    end(engine.keeper_pid)
    time.sleep(0.3)
    until(lambda: engine.docker("ps", "-q", code=None).split().__len__() == COUNT, 10)
    keeper = engine.keeper_pid
    engine.kill()
    end(keeper)
    time.sleep(0.3)
    engine.start()
    assert {number: engine.inspect(f"c{number}")["State"]["Pid"] for number in range(COUNT)} == pids
    assert engine.docker("exec", "c7", "echo", "controlled") == "controlled\n"
    engine.docker("pause", "c8")
    engine.docker("unpause", "c8")
    engine.docker("kill", "-s", "USR1", *(f"c{number}" for number in range(COUNT)))
    for number in range(COUNT):
        assert engine.docker("wait", f"c{number}").strip() == str(number)
        out = engine.run("docker", "logs", f"c{number}")
        *lines, total = out.stdout.decode().splitlines()
        assert total == f"total {len(lines)}"
        assert lines == [f"line {line}" for line in range(len(lines))]
        assert out.stderr.decode().splitlines() == [f"err {line}" for line in range(len(lines))]
    engine.docker("rm", *(f"c{number}" for number in range(COUNT)))
    until(lambda: _settled(engine) == clean, 20, "nothing is left")


def _settled(engine: Engine) -> dict[str, list[str]]:
    """What is left once the idle-time clean-up has come to rest."""
    before = leftovers(engine)
    time.sleep(1.5)
    return before if leftovers(engine) == before else {}


def test_an_end_while_the_daemon_is_away_is_told(own_engine: Engine) -> None:
    engine = own_engine
    engine.docker("run", "-d", "--name", "away", "busybox", "sh", "-c", "sleep 0.7; echo last; exit 9")
    engine.kill()
    time.sleep(1.2)
    engine.start()
    assert engine.inspect("away")["State"]["ExitCode"] == 9
    assert engine.docker("logs", "away") == "last\n"


def test_a_tty_and_an_open_stdin_survive_the_keeper(own_engine: Engine) -> None:
    engine = own_engine
    engine.docker("run", "-dit", "--name", "tty", "busybox", "sh", "-c", "while :; do echo tick; sleep 0.1; done")
    engine.docker("run", "-di", "--name", "in", "busybox", "cat")
    end(engine.keeper_pid)
    time.sleep(0.5)
    assert engine.inspect("tty")["State"]["Running"] is True
    assert engine.inspect("in")["State"]["Running"] is True
    before = engine.docker("logs", "tty").count("tick")
    until(lambda: engine.docker("logs", "tty").count("tick") > before + 3)
    engine.docker("rm", "-f", "tty", "in")


def test_restart_policies_hold_over_a_daemon_restart(own_engine: Engine) -> None:
    engine = own_engine
    engine.docker("run", "-d", "--name", "aa", "--restart", "always", "busybox", "sleep", "1000")
    engine.docker("run", "-d", "--name", "uu", "--restart", "unless-stopped", "busybox", "sleep", "1000")
    engine.docker("stop", "-t", "0", "aa", "uu")
    engine.stop()
    engine.start()
    until(lambda: engine.inspect("aa")["State"]["Running"], 10)
    assert engine.inspect("uu")["State"]["Running"] is False
