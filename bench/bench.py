"""`make bench`: Orlop beside docker and podman, as far as this machine has them, in one run. Prints one table.

Rounds go through the engines in turn, after one round that is thrown away; the median is printed, and its ratio to Orlop's.
Runs in a mount and network namespace of its own (see the Makefile). Options: --rounds N, --pause SECONDS.
"""

import shutil
import statistics
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from engines import ROOT, Engine, present

IMAGE, NAME = "busybox", "bench"
MANY, CLIENTS = 100, 4
ARCHIVE = ROOT / ".cache/images/bench-busybox.tar"


def run_then_exec(engine: Engine) -> float:
    """`exec` into a container that runs."""
    engine.run("run", "-d", "--name", NAME, "--network", "none", IMAGE, "sleep", "1000")
    took = engine.run("exec", NAME, "true")
    engine.attempt(*engine.remove, NAME)
    return took


def load(engine: Engine) -> float:
    """`load` of an image that is not there."""
    engine.attempt("rmi", "-f", IMAGE)
    return engine.run("load", "-q", "-i", str(ARCHIVE))


CASES: dict[str, Callable[[Engine], float]] = {
    "run --rm true, none": lambda engine: engine.run("run", "--rm", "--network", "none", IMAGE, "true"),
    "run --rm true, bridge": lambda engine: engine.run("run", "--rm", IMAGE, "true"),
    "exec true": run_then_exec,
    "ps": lambda engine: engine.run("ps"),
    "load": load,
}


def measure(case: Callable[[Engine], float], engines: list[Engine], rounds: int, pause: float) -> dict[str, float]:
    """Median milliseconds by engine; an engine that fails the case is left out."""
    values: dict[str, list[float]] = {engine.name: [] for engine in engines}
    for number in range(rounds + 1):
        for engine in engines:
            time.sleep(pause)
            try:
                took = case(engine)
            except subprocess.CalledProcessError:
                engine.attempt(*engine.remove, NAME)
                continue
            if number:
                values[engine.name].append(took)
    return {name: statistics.median(times) for name, times in values.items() if times}


def throughput_and_memory(engine: Engine) -> tuple[float, float, float]:
    """Containers started per second by four clients; idle PSS in MiB; PSS per container in KiB."""
    time.sleep(3)
    idle = engine.pss_kib()
    names = [f"{NAME}{number}" for number in range(MANY)]
    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(
            clients.map(
                lambda name: engine.run("run", "-d", "--network", "none", "--name", name, IMAGE, "sleep", "10000"), names
            )
        )
    rate = MANY / (time.perf_counter() - began)
    time.sleep(3)
    each = (engine.pss_kib() - idle) / MANY
    engine.attempt(*engine.remove, *names)
    return rate, idle / 1024, each


def row(name: str, values: dict[str, float], engines: list[Engine], unit: str) -> str:
    """One line: each engine's value, and how many times Orlop's it is."""
    own = values.get("orlop")
    cells = []
    for engine in engines:
        value = values.get(engine.name)
        ratio = f" ({value / own:.1f}x)" if value and own and engine.name != "orlop" else ""
        cells.append(f"{f'{value:.1f}{ratio}' if value is not None else '-':>20}")
    return f"{name:34}{''.join(cells)}  {unit}"


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--pause", type=float, default=0.1, help="idle seconds before each command")
    options = parser.parse_args()
    engines = [engine for engine in present() if engine.start()]
    try:
        ARCHIVE.parent.mkdir(parents=True, exist_ok=True)
        if not ARCHIVE.exists():
            engines[0].run("image", "bootstrap", "busybox")
            engines[0].run("save", "-o", str(ARCHIVE), IMAGE)
        for engine in engines:
            engine.run("load", "-q", "-i", str(ARCHIVE))
        print(f"{'':34}{''.join(f'{engine.name:>20}' for engine in engines)}")
        for name, case in CASES.items():
            print(row(name, measure(case, engines, options.rounds, options.pause), engines, "ms"), flush=True)
        figures = {}
        for engine in engines:
            try:
                figures[engine.name] = throughput_and_memory(engine)
            except subprocess.CalledProcessError as error:
                print(f"{engine.name}: {' '.join(error.cmd[-8:])}: exit {error.returncode}", file=sys.stderr)
        titles = (
            (f"start of {MANY} by {CLIENTS} clients", "per second"),
            ("idle memory (PSS)", "MiB"),
            ("memory per container", "KiB"),
        )
        for index, (title, unit) in enumerate(titles):
            print(row(title, {name: figure[index] for name, figure in figures.items()}, engines, unit))
    finally:
        for engine in engines:
            engine.stop()
        shutil.rmtree(engines[0].home, ignore_errors=True)


if __name__ == "__main__":
    main()
