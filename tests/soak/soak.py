"""`make soak [SECONDS=600] [SEED=n]`: disturbs an engine at random for as long as asked. Not part of `make test`.

Every round kills something in the middle of some command, then looks whether all works and whether anything is left. In between
200 containers run and go, and neither descriptors nor memory may grow.
"""

import argparse
import sys
import time
from pathlib import Path
from random import Random, SystemRandom

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import arena
from support.census import memory_kb, open_files, settled
from support.chaos import COMMANDS, VICTIMS, Chaos, chaos

CYCLES = 200
ROUNDS_BETWEEN = 25
GROWTH_KB = 3000


def main() -> int:
    """The program: 0 when nothing broke."""
    parser = argparse.ArgumentParser(description=__doc__.partition(".")[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1 << 32))
    parser.add_argument("--commands", nargs="*", choices=sorted(COMMANDS), default=sorted(COMMANDS))
    asked = parser.parse_args()
    arena.enter()
    random, deadline, rounds = Random(asked.seed), time.monotonic() + asked.seconds, 0
    print(f"seed {asked.seed}", flush=True)
    with chaos() as stage:
        while time.monotonic() < deadline:
            if rounds % ROUNDS_BETWEEN == 0:
                cycles(stage)
            command, victims = random.choice(asked.commands), random.choice(VICTIMS)
            rounds += 1
            print(f"{rounds:4} {command}: {' + '.join(victims)}", flush=True)
            stage.round(command, victims, random)
    print(f"{rounds} rounds, nothing broke")
    return 0


def cycles(stage: Chaos) -> None:
    """Run and remove many containers; descriptors and memory of daemon and keeper stay what they were."""
    engine = stage.engine
    watched = {"daemon": engine.pid, "keeper": engine.keeper_pid}
    run_many(stage, 20)
    before = {name: (open_files(pid), memory_kb(pid)) for name, pid in watched.items()}
    run_many(stage, CYCLES)
    after = {name: (open_files(pid), memory_kb(pid)) for name, pid in watched.items()}
    print(f"     {CYCLES} containers: (descriptors, kB) {before} -> {after}", flush=True)
    for name, (files, memory) in after.items():
        assert files <= before[name][0], f"{name}: {files} descriptors, {before[name][0]} before"
        assert memory < before[name][1] + GROWTH_KB, f"{name}: {memory} kB, {before[name][1]} before"


def run_many(stage: Chaos, count: int) -> None:
    """`run --rm`, on a network and without one."""
    for number in range(count):
        stage.engine.docker("run", "--rm", "--network", ("none", "bridge")[number % 2], "busybox", "true")
    settled(stage.engine, stage.clean)


if __name__ == "__main__":
    sys.exit(main())
