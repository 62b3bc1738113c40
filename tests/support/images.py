"""Base images for the tests: made once by Orlop from Debian's packages, kept as archives in `.cache/images`."""

import os
import sys
from pathlib import Path

from support import arena
from support.arena import host_network
from support.engine import ROOT, Engine

CACHE = ROOT / ".cache/images"
SERVICES = ("debian:bookworm", "nginx-light", "postgresql", "redis-server")  # a base image with the packages of three services


def archive(name: str, *packages: str) -> Path:
    """The archive of `orlop image bootstrap NAME`; the first call on a machine makes it (needs the package mirror)."""
    file = CACHE / f"{'-'.join((name.replace(':', '_'), *packages))}.tar"
    if not file.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".part{os.getpid()}")
        with host_network():
            maker = Engine("--bridge", "none").start()
        try:
            options = [word for package in packages for word in ("--package", package)]
            maker.orlop("image", "bootstrap", name, *options, timeout=600)
            maker.orlop("save", "-o", str(part), name)
            part.rename(file)
        finally:
            maker.destroy()
    return file


def main() -> None:
    """Make all of them before the tests begin, for it takes longer than a test may."""
    arena.enter()
    for name, *packages in (("busybox",), SERVICES):
        print(f"base image {name} {' '.join(packages)}", file=sys.stderr, flush=True)
        archive(name, *packages)


if __name__ == "__main__":
    main()
