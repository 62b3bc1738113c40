"""Base images for the tests: made once by Orlop from Debian's packages, kept as archives in `.cache/images`."""

import os
from pathlib import Path

from support.arena import host_network
from support.engine import ROOT, Engine

CACHE = ROOT / ".cache/images"


def archive(engine: Engine, name: str, *packages: str) -> Path:
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
