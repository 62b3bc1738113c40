"""kill -9 at random moments of what users do: everything works afterwards, and nothing is left once everything is removed.

The moments come from a seed (CHAOS_SEED). `make soak` goes on with it for as long as one likes.
"""

import json
import os
import threading
from collections.abc import Iterator
from random import Random

import pytest

from support.census import memory_kb, open_files, settled
from support.chaos import DAEMON, HOLDER, KEEPER, WORKER, Chaos, chaos

pytestmark = pytest.mark.root

SEED = int(os.environ.get("CHAOS_SEED", "1"))
ALL = (DAEMON, KEEPER, HOLDER)
CASES = [
    ("create", (DAEMON,)),
    ("run", (DAEMON,)),
    ("run", (KEEPER,)),
    ("run", ALL),
    ("rm -f", (DAEMON,)),
    ("stop", (KEEPER, HOLDER)),
    ("commit", (DAEMON,)),
    ("load", (DAEMON,)),
    ("load", (WORKER,)),
    ("pull", (DAEMON,)),
    ("network connect", (DAEMON,)),
    ("exec", ALL),
]


@pytest.fixture(scope="module")
def stage() -> Iterator[Chaos]:
    with chaos() as running:
        yield running


@pytest.mark.parametrize(("command", "victims"), CASES, ids=[f"{command}: {'+'.join(victims)}" for command, victims in CASES])
def test_killed_while(stage: Chaos, command: str, victims: tuple[str, ...]) -> None:
    stage.round(command, victims, Random(f"{SEED} {command} {victims}"))


def test_containers_that_come_and_go_leave_no_descriptor_and_no_memory(stage: Chaos) -> None:
    engine = stage.engine
    watched = (engine.pid, engine.keeper_pid)
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"AutoRemove": True}}

    def cycles(count: int) -> list[tuple[int, int]]:
        for _ in range(count):
            container = json.loads(engine.api("POST", "/containers/create", body)[1])["Id"]
            engine.api("POST", f"/containers/{container}/start")
            engine.api("POST", f"/containers/{container}/wait?condition=removed")
        settled(engine, stage.clean)
        return [(open_files(pid), memory_kb(pid)) for pid in watched]

    for before, after in zip(cycles(10), cycles(40), strict=True):
        assert after[0] <= before[0]
        assert after[1] < before[1] + 2000


def test_the_same_names_from_many_sides(stage: Chaos) -> None:
    """Create, start, inspect, list and remove at once on two names: some are refused (404, 409), none fails (5xx) or hangs."""
    engine = stage.engine
    over, statuses = threading.Event(), set[int]()
    body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"AutoRemove": True}}

    def ask(random: Random) -> None:
        while not over.is_set():
            name = random.choice(("one", "two"))
            method, path, content = random.choice(
                (
                    ("POST", f"/containers/create?name={name}", body),
                    ("POST", f"/containers/{name}/start", None),
                    ("DELETE", f"/containers/{name}?force=1", None),
                    ("POST", f"/containers/{name}/stop?t=0", None),
                    ("GET", f"/containers/{name}/json", None),
                    ("GET", "/containers/json?all=1", None),
                )
            )
            status, said = engine.api(method, path, content)
            statuses.add(status)
            assert status < 500, (method, path, said)

    threads = [threading.Thread(target=ask, args=(Random(f"{SEED} {number}"),)) for number in range(8)]
    for thread in threads:
        thread.start()
    over.wait(5)
    over.set()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert {200, 201, 204, 404, 409} <= statuses
    assert max(statuses) < 500
    for name in ("one", "two"):
        engine.docker("rm", "-f", name, code=None)
    settled(engine, stage.clean)
