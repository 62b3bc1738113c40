"""Base images without a registry: Debian from its packages (mmdebstrap), and busybox. Same packages, same digest."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orlop.kernel import process
from orlop.spec.container import ProcessDefaults
from orlop.spec.errors import InvalidArgument, Unavailable
from orlop.spec.image import History, ImageArrival, ImageConfig, host_platform
from orlop.spec.image_json import encode_config
from orlop.spec.reference import parse_reference
from orlop.storage import debian
from orlop.storage.arrivals import arrive
from orlop.storage.compression import BlockSource
from orlop.storage.store import Store
from orlop.storage.tar.headers import SECOND
from orlop.storage.tar.writer import archive_of
from orlop.storage.trees import new_name, opened, remove_tree

Progress = Callable[[dict[str, Any]], None]

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BUSYBOX = Path("/bin/busybox")
_BUSYBOX_DIRECTORIES = {
    "bin": 0o755, "dev": 0o755, "etc": 0o755, "home": 0o755, "proc": 0o755, "root": 0o700, "sys": 0o755, "tmp": 0o1777,
    "usr/bin": 0o755, "usr/sbin": 0o755, "sbin": 0o755, "var/spool": 0o755, "var/www": 0o755,
}  # fmt: skip
_BUSYBOX_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
    "www-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    "etc/group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nusers:x:100:\nnogroup:x:65534:\n",
    "etc/shadow": "root:*:10933:0:99999:7:::\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}


@dataclass(frozen=True, kw_only=True)
class _Base:
    """How to fill an empty root, and what the image is to say of itself. `fill` returns the time (seconds) that no file may
    be younger than."""

    fill: Callable[[Path], int]
    command: tuple[str, ...]
    created_by: str


def bootstrap(
    store: Store, name: str, variant: str, packages: Sequence[str], progress: Progress, *, tag: str = ""
) -> ImageArrival:
    """Make the image `debian:SUITE` or `busybox`, under that name or the name `tag`.

    Raises InvalidArgument; Unavailable (a tool is missing, no mirror answers); OSError. Then nothing is left.
    """
    reference = parse_reference(name).with_default_tag()
    base = _base(reference.familiar_name, reference.tag, variant, packages, progress)
    with _scratch(store) as root:
        epoch = base.fill(root)
        progress({"status": "Packing", "id": reference.tag})
        with opened(root) as fd:
            _settle_times(fd, epoch)
            layer = store.layers.extract(BlockSource(archive_of(fd)))
    created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    config = ImageConfig(
        platform=host_platform(),
        process=ProcessDefaults(env=(_PATH,), command=base.command),
        diff_ids=(layer.diff_id,),
        history=(History(created=created, created_by=base.created_by, comment="orlop image bootstrap"),),
        created=created,
    )
    progress({"status": "Complete", "id": reference.tag})
    return arrive(store.content, (layer,), encode_config(config), names=(tag or str(reference),))


def _base(name: str, tag: str, variant: str, packages: Sequence[str], progress: Progress) -> _Base:
    def tell(text: str) -> None:
        progress({"status": text, "id": tag})

    if name == "debian":
        plan = debian.plan(tag, variant or "minbase", packages)
        return _Base(fill=lambda root: debian.fill(plan, root, tell), command=("bash",), created_by=plan.shown)
    if name == "busybox" and not variant and not packages:
        return _busybox(tell)
    if name == "busybox":
        raise InvalidArgument("busybox has neither variants nor packages")
    raise InvalidArgument(f"cannot bootstrap {name}: known are debian:SUITE and busybox")


def _busybox(tell: Callable[[str], None]) -> _Base:
    if not _BUSYBOX.exists():
        raise Unavailable(f"cannot make busybox: {_BUSYBOX} is missing, install the package busybox-static")
    applets = process.run([os.fspath(_BUSYBOX), "--list"]).text.split()
    version = process.run([os.fspath(_BUSYBOX)]).text.partition(" (")[0]

    def fill(root: Path) -> int:
        tell(f"{version}: {len(applets)} applets")
        root.mkdir()
        for directory, mode in _BUSYBOX_DIRECTORIES.items():
            (root / directory).mkdir(parents=True)
            (root / directory).chmod(mode)
        program = root / "bin/busybox"
        shutil.copyfile(_BUSYBOX, program)
        program.chmod(0o755)
        for applet in {*applets, "sh"} - {"busybox"}:
            os.link(program, root / "bin" / applet)
        for path, content in _BUSYBOX_FILES.items():
            (root / path).write_text(content)
            (root / path).chmod(0o640 if path == "etc/shadow" else 0o644)
        return int(_BUSYBOX.stat().st_mtime)

    return _Base(fill=fill, command=("sh",), created_by=f"{version} from busybox-static")


@contextmanager
def _scratch(store: Store) -> Iterator[Path]:
    """A path for a new root, beside the store so that it may hold devices and set-user-id programs; gone at the end."""
    place = store.root / "snapshots" / new_name()
    place.mkdir(mode=0o711)
    try:
        yield place / "root"
    finally:
        remove_tree(place)


def _settle_times(fd: int, epoch: int) -> None:
    """No file is younger than `epoch`: what was made just now carries no trace of when."""
    latest = epoch * SECOND
    for name in os.listdir(fd):
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            with opened(name, dir_fd=fd) as child:
                _settle_times(child, epoch)
        elif status.st_mtime_ns <= latest:
            continue
        time = min(status.st_mtime_ns, latest)
        os.utime(name, ns=(time, time), dir_fd=fd, follow_symlinks=False)
