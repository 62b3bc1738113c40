"""Jobs on what is stored: each a synchronous function that runs in a worker, on plain values (see engine/jobs.py)."""

from collections.abc import Callable
from typing import Any

from orlop.engine.tree_jobs import send
from orlop.spec.image import LayerRecord
from orlop.state.documents import from_plain, to_plain
from orlop.storage import trees, volumes
from orlop.storage.arrivals import arrive
from orlop.storage.changes import FileChange, changes_of_copy, changes_of_overlay, layer_of_changes
from orlop.storage.compression import BlockSource, FdSource
from orlop.storage.layers import Unpacked
from orlop.storage.loading import load
from orlop.storage.saving import SavedImage, save
from orlop.storage.store import Store
from orlop.storage.tar.writer import layer_of

Args = dict[str, Any]
Progress = Callable[[dict[str, Any]], None]
Fds = tuple[int, ...]


def _store(args: Args) -> Store:
    return Store(args["data_root"], args["driver"])


# Images and layers.


def load_images(args: Args, progress: Progress, fds: Fds) -> Any:
    """An archive from the descriptor -> {images: [ImageArrival]}."""
    return {"images": to_plain(load(_store(args), FdSource(fds[-1]), progress))}


def save_images(args: Args, progress: Progress, fds: Fds) -> Any:
    """{images: [SavedImage]} -> an archive into the descriptor."""
    send(fds[-1], save(_store(args), [from_plain(image, SavedImage) for image in args["images"]]))


def bootstrap_image(args: Args, progress: Progress, fds: Fds) -> Any:
    """{name, variant, packages} -> ImageArrival."""
    from orlop.storage.bootstrap import bootstrap

    return to_plain(bootstrap(_store(args), args["name"], args["variant"], tuple(args["packages"]), progress, tag=args["tag"]))


def arrive_image(args: Args, progress: Progress, fds: Fds) -> Any:
    """{config: text, layers: [LayerRecord], names, parent} -> ImageArrival."""
    layers = [from_plain(layer, LayerRecord) for layer in args["layers"]]
    config = args["config"].encode()
    return to_plain(arrive(_store(args).content, layers, config, names=args["names"], parent=args["parent"]))


def import_layer(args: Args, progress: Progress, fds: Fds) -> Any:
    """{parent}, a tar from the descriptor -> LayerRecord."""
    return to_plain(_store(args).layers.extract(FdSource(fds[-1]), parent=args["parent"]))


def commit_layer(args: Args, progress: Progress, fds: Fds) -> Any:
    """{key, parent} -> LayerRecord of what a snapshot has changed."""
    store = _store(args)
    upper = store.snapshots.upper(args["key"])
    if store.snapshots.instant:
        with trees.opened(upper) as fd:
            return to_plain(store.layers.extract(BlockSource(layer_of(fd)), parent=args["parent"]))
    blocks = layer_of_changes(upper, _changes(store, args["key"]))
    return to_plain(store.layers.extract(BlockSource(blocks), parent=args["parent"]))


def commit_layers(args: Args, progress: Progress, fds: Fds) -> Any:
    """{unpacked: [Unpacked], parent} -> [LayerRecord]."""
    unpacked = [from_plain(one, Unpacked) for one in args["unpacked"]]
    return to_plain(_store(args).layers.commit_all(unpacked, args.get("parent", "")))


def discard_layer(args: Args, progress: Progress, fds: Fds) -> Any:
    """{unpacked}: remove it."""
    _store(args).layers.discard(from_plain(args["unpacked"], Unpacked))


# Snapshots.


def prepare_snapshot(args: Args, progress: Progress, fds: Fds) -> Any:
    """{key, parent}."""
    _store(args).snapshots.prepare(args["key"], args["parent"])


def _changes(store: Store, key: str) -> list[FileChange]:
    snapshots = store.snapshots
    find = changes_of_overlay if snapshots.instant else changes_of_copy
    return find(snapshots.upper(key), snapshots.below(key))


def list_changes(args: Args, progress: Progress, fds: Fds) -> Any:
    """{key} -> [[kind, path]]."""
    changes = _changes(_store(args), args["key"])
    return [[kind, "/" + path.decode(errors="replace")] for kind, path in changes]


def measure_snapshots(args: Args, progress: Progress, fds: Fds) -> Any:
    """{keys} -> {key: bytes}."""
    snapshots = _store(args).snapshots
    return {key: trees.usage(snapshots.upper(key)) for key in args["keys"] if snapshots.exists(key)}


def purge_store(args: Args, progress: Progress, fds: Fds) -> Any:
    """Delete what was removed."""
    store = _store(args)
    store.snapshots.purge()
    volumes.purge(store.root)
