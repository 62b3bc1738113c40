"""Jobs on directory trees: what `cp`, `export` and volumes need. Few imports, for a worker may start just for a `cp`."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from orlop.state.documents import to_plain
from orlop.storage import inside, trees
from orlop.storage.compression import FdSource
from orlop.storage.roots import kernels_own, opened_root
from orlop.storage.tar.writer import archive_of

Args = dict[str, Any]
Progress = Callable[[dict[str, Any]], None]
Fds = tuple[int, ...]


def send(fd: int, blocks: Iterable[bytes]) -> None:
    """Write a stream to its end."""
    for block in blocks:
        view = memoryview(block)
        while view:
            view = view[os.write(fd, view) :]


def export_tree(args: Args, progress: Progress, fds: Fds) -> Any:
    """{root} -> a tar into the descriptor."""
    with opened_root(args["root"], Path(args["data_root"])) as root, trees.opened(".", dir_fd=root) as fd:
        send(fds[-1], archive_of(fd))


def stat_path(args: Args, progress: Progress, fds: Fds) -> Any:
    """{root, path, container} -> PathStat."""
    with opened_root(args["root"], Path(args["data_root"])) as root:
        return to_plain(inside.stat_path(root, args["path"], args["container"]))


def get_archive(args: Args, progress: Progress, fds: Fds) -> Any:
    """{root, path, container} -> a tar into the descriptor."""
    with opened_root(args["root"], Path(args["data_root"])) as root:
        send(fds[-1], inside.archive_path(root, args["path"], args["container"], without=kernels_own(args["root"])))


def put_archive(args: Args, progress: Progress, fds: Fds) -> Any:
    """{root, path, container, no_overwrite, owner}, a tar from the descriptor."""
    owner = tuple(args["owner"]) if args.get("owner") else None
    with opened_root(args["root"], Path(args["data_root"])) as root:
        source = FdSource(fds[-1])
        inside.extract_into(root, args["path"], args["container"], source, no_overwrite=args["no_overwrite"], owner=owner)


def copy_up(args: Args, progress: Progress, fds: Fds) -> Any:
    """{mounts, path, destination} -> whether an empty volume was filled with what the image has at its place."""
    with opened_root({"mounts": args["mounts"]}, Path(args["data_root"])) as root:
        return inside.copy_up(root, args["path"], args["destination"])


def measure_trees(args: Args, progress: Progress, fds: Fds) -> Any:
    """{paths} -> {path: bytes}."""
    return {path: trees.usage(path) for path in args["paths"]}
