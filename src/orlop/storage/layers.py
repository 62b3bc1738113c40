"""LayerStore: layers, each unpacked once in `snapshots/<chain>/fs`, with a recipe that makes its exact tar again."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orlop.kernel import syscalls
from orlop.spec.errors import Corrupt, InvalidArgument, NotFound
from orlop.spec.image import Digest, LayerRecord, chain_ids
from orlop.state import documents
from orlop.storage.compression import READ_BYTES, BlockSource, Source, inflate, sniff
from orlop.storage.fixups import Fixups
from orlop.storage.lanes import Lane
from orlop.storage.tar import recipe
from orlop.storage.tar.extract import DEFAULT_LIMITS, Limits
from orlop.storage.tar.layer import LayerExtractor
from orlop.storage.tar.reader import TarReader
from orlop.storage.trees import GONE, NEW, new_name, opened, remove_tree

_NAME_DIGITS = 24  # of a chain id, as the directory's name: 128 layers must fit into mount(2)'s one page of options

Progress = Callable[[int], None]  # how many bytes of the source have been read so far


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpacked:
    """A layer that is unpacked but not yet on top of another. `place`: its directory; `digest`: of the bytes as they came."""

    place: str
    diff_id: Digest
    digest: Digest
    compressed_size: int
    size: int
    tar_size: int


def directory_name(key: str) -> str:
    """The directory of a chain id, or of a container's own snapshot, below `snapshots`."""
    return key.removeprefix("sha256:")[:_NAME_DIGITS]


class LayerStore:
    """Layers by chain id. All but `has`, `get` and `stack` is for workers: it reads and writes whole file systems."""

    def __init__(self, root: Path, limits: Limits = DEFAULT_LIMITS) -> None:
        """`root`: the data root."""
        self._snapshots = root / "snapshots"
        self._recipes = root / "layers"
        self._limits = limits
        self._known: dict[Digest, LayerRecord] = {}
        for directory in (self._snapshots, self._recipes):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    # What is there.

    def get(self, chain_id: Digest) -> LayerRecord:
        """What is known of a layer. Raises NotFound."""
        if known := self._known.get(chain_id):
            return known
        try:
            content = (self._place(chain_id) / "layer.json").read_bytes()
        except FileNotFoundError:
            raise NotFound("layer", chain_id) from None
        record = documents.decode(content, LayerRecord)
        if record.chain_id != chain_id:
            raise NotFound("layer", chain_id)
        self._known[chain_id] = record
        return record

    def has(self, chain_id: Digest) -> bool:
        """Whether a layer is there, complete."""
        try:
            self.get(chain_id)
        except NotFound:
            return False
        return True

    def records(self) -> Iterator[LayerRecord]:
        """Every layer."""
        for place in self._snapshots.iterdir():
            if not place.name.startswith((NEW, GONE)):
                with suppress(FileNotFoundError, NotADirectoryError):
                    yield documents.decode((place / "layer.json").read_bytes(), LayerRecord)

    def stack(self, chain_id: Digest) -> tuple[Path, ...]:
        """The unpacked layers of a chain, the topmost first. Raises NotFound."""
        found = []
        while chain_id:
            record = self.get(chain_id)
            found.append(self._place(chain_id) / "fs")
            chain_id = record.parent
        return tuple(found)

    def holding(self, diff_id: Digest) -> LayerRecord | None:
        """Some layer that has this diff id."""
        if not self._recipe(diff_id).exists():
            return None
        return next((record for record in self.records() if record.diff_id == diff_id), None)

    # In.

    def unpack(self, source: Source, *, diff_id: Digest = "", progress: Progress | None = None) -> Unpacked:
        """Unpack a layer's tar, compressed or not. See `begin`."""
        return self.begin(source, diff_id=diff_id, progress=progress).finish()

    def begin(self, source: Source, *, diff_id: Digest = "", progress: Progress | None = None) -> "Unpacking":
        """Read a source to its end while a child unpacks it; `finish` waits for the child.

        Raises Corrupt when it is malformed, cut off, or has another diff id than the one given; InvalidArgument when it would
        escape or is a bomb; OSError (disk full). Then nothing is left.
        """
        place = self._snapshots / new_name()
        (place / "fs").mkdir(parents=True, mode=0o755)
        (place / "kept").mkdir(mode=0o700)
        with ExitStack() as undo:
            undo.callback(remove_tree, place)
            hashed = _Hashed(source, progress)
            lane = Lane(lambda fd: _unpack(fd, place, self._limits))
            undo.callback(lane.abort)
            digest = self._feed(lane, hashed)
            unpacked = Unpacked(
                place=place.name,
                diff_id=digest[0],
                digest=hashed.digest,
                compressed_size=hashed.size,
                size=0,
                tar_size=digest[1],
            )
            if diff_id and unpacked.diff_id != diff_id:
                raise Corrupt(f"wrong diff id calculated on extraction: expected {diff_id}, got {unpacked.diff_id}")
            undo.pop_all()
        return Unpacking(lane, place, unpacked)

    def _feed(self, lane: Lane, hashed: "_Hashed") -> tuple[Digest, int]:
        """Hand the plain tar to the lane. Returns its digest and size."""
        source, compression = sniff(hashed)
        most = self._limits.bytes + 1024 * self._limits.entries
        diff, size = hashlib.sha256(), 0
        for block in inflate(source, compression):
            if compression:
                diff.update(block)
            size += len(block)
            if size > most:
                raise InvalidArgument(f"the archive is too large: more than {most} bytes")
            lane.write(block)
        lane.close()
        hashed.drain()
        return f"sha256:{diff.hexdigest()}" if compression else hashed.digest, size

    def commit_all(self, unpacked: Iterable[Unpacked], parent: Digest = "") -> tuple[LayerRecord, ...]:
        """Put unpacked layers one upon the other, bring everything to the disk and give them their names.

        Raises NotFound for the parent, Corrupt for links to what is not below; then they are discarded.
        """
        layers = list(unpacked)
        records = []
        try:
            base = self._diff_ids(parent)
            chain = chain_ids((*base, *(layer.diff_id for layer in layers)))[len(base) :]
            below = list(self.stack(parent))
            for layer, chain_id in zip(layers, chain, strict=True):
                record = LayerRecord(
                    chain_id=chain_id, diff_id=layer.diff_id, parent=parent, size=layer.size, tar_size=layer.tar_size
                )
                if not self.has(chain_id):
                    record = self._settle(layer, record, below)
                    below.insert(0, self._snapshots / layer.place / "fs")
                else:
                    below.insert(0, self._place(chain_id) / "fs")
                records.append(record)
                parent = chain_id
            with opened(self._snapshots) as fd:
                syscalls.syncfs(fd)
            for layer, record in zip(layers, records, strict=True):
                self._name(layer, record)
        finally:
            for layer in layers:
                self.discard(layer)
        return tuple(records)

    def extract(self, source: Source, *, parent: Digest = "", diff_id: Digest = "") -> LayerRecord:
        """Unpack one layer on top of another: `unpack` and `commit_all`."""
        (record,) = self.commit_all([self.unpack(source, diff_id=diff_id)], parent)
        return record

    def discard(self, unpacked: Unpacked) -> None:
        """Remove an unpacked layer that is not wanted after all. Idempotent."""
        if unpacked.place.startswith(NEW) and "/" not in unpacked.place:
            remove_tree(self._snapshots / unpacked.place)

    def _settle(self, layer: Unpacked, record: LayerRecord, below: Sequence[Path]) -> LayerRecord:
        place = self._snapshots / layer.place
        Fixups.load(place).apply(place / "fs", below)
        (place / "layer.json").write_bytes(documents.encode(record))
        return record

    def _name(self, layer: Unpacked, record: LayerRecord) -> None:
        place = self._snapshots / layer.place
        if self.has(record.chain_id):
            return
        with suppress(FileNotFoundError):
            os.rename(place / "recipe", self._recipe(record.diff_id))
        with suppress(OSError):  # someone else was faster: theirs is as good
            os.rename(place, self._place(record.chain_id))

    # Out.

    def replay(self, diff_id: Digest, chain_id: Digest) -> Iterator[bytes]:
        """The exact tar of a layer, in blocks. Raises NotFound; Corrupt, also at the end, when it is not the same any more."""
        place = self._place(self.get(chain_id).chain_id)
        digest = hashlib.sha256()
        try:
            for block in recipe.replay(self._recipe(diff_id), place / "fs", place / "kept"):
                digest.update(block)
                yield block
        except FileNotFoundError as error:
            raise Corrupt(f"the recipe of layer {diff_id} is gone") from error
        if f"sha256:{digest.hexdigest()}" != diff_id:
            raise Corrupt(f"layer {diff_id} was changed in the store: its tar is sha256:{digest.hexdigest()} now")

    def copy(self, record: LayerRecord, parent: Digest) -> LayerRecord:
        """The same layer on top of another chain."""
        return self.extract(BlockSource(self.replay(record.diff_id, record.chain_id)), parent=parent, diff_id=record.diff_id)

    def remove(self, chain_id: Digest) -> None:
        """Take a layer away; its files wait aside for `purge`. Its children must be gone. Idempotent."""
        record = self.get(chain_id) if self.has(chain_id) else None
        if record:
            del self._known[chain_id]
            os.rename(self._place(chain_id), self._snapshots / f"{GONE}{os.urandom(8).hex()}")
            if not any(other.diff_id == record.diff_id for other in self.records()):
                self._recipe(record.diff_id).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove recipes that a crash has left without their layer."""
        wanted = {record.diff_id.removeprefix("sha256:") for record in self.records()}
        for path in self._recipes.iterdir():
            if path.name not in wanted:
                path.unlink(missing_ok=True)

    def _diff_ids(self, chain_id: Digest) -> tuple[Digest, ...]:
        found: list[Digest] = []
        while chain_id:
            record = self.get(chain_id)
            found.append(record.diff_id)
            chain_id = record.parent
        return tuple(reversed(found))

    def _place(self, chain_id: Digest) -> Path:
        return self._snapshots / directory_name(chain_id)

    def _recipe(self, diff_id: Digest) -> Path:
        return self._recipes / diff_id.removeprefix("sha256:")


class Unpacking:
    """A layer of which every byte was read; its child may still be writing files."""

    def __init__(self, lane: Lane, place: Path, unpacked: Unpacked) -> None:
        self._lane, self._place = lane, place
        self.unpacked = unpacked

    def finish(self) -> Unpacked:
        """Wait for the child. Raises as `LayerStore.begin`."""
        try:
            result: dict[str, Any] = self._lane.finish()
        except BaseException:
            self.abort()
            raise
        return replace(self.unpacked, size=int(result["size"]))

    def abort(self) -> None:
        """Leave nothing of it."""
        self._lane.abort()
        remove_tree(self._place)


def _unpack(fd: int, place: Path, limits: Limits) -> dict[str, int]:
    """In the lane: unpack a plain tar. From here on the layer's own directory is all there is."""
    new_file = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with (
        opened(place / "fs") as root,
        opened(place / "kept") as kept,
        opened(place / "recipe", new_file) as recipe_fd,
        opened(place / "fixups", new_file) as fixups_fd,
    ):
        recorder = recipe.Recorder(recipe_fd)
        counted = _Counted(fd)
        reader = TarReader(counted.read, recorder.literal)
        with LayerExtractor(root, kept, recorder, limits) as extractor:
            os.chroot(place / "fs")
            extractor.run(reader)
            reader.drain()
            recorder.finish(counted.size)
            os.write(fixups_fd, Fixups.of(extractor).encode())
        return {"size": extractor.size}


class _Counted:
    """Blocks from a descriptor, and how many bytes they were."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size = 0

    def read(self) -> bytes:
        block = os.read(self._fd, READ_BYTES)
        self.size += len(block)
        return block


class _Hashed:
    """A source that is hashed while it is read."""

    def __init__(self, source: Source, progress: Progress | None) -> None:
        self._source, self._progress = source, progress
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> Digest:
        return f"sha256:{self._hash.hexdigest()}"

    def read(self, size: int, /) -> bytes:
        block = self._source.read(size)
        self._hash.update(block)
        self.size += len(block)
        if self._progress:
            self._progress(self.size)
        return block

    def drain(self) -> None:
        """Read what the decompressor left."""
        while self.read(READ_BYTES):
            pass
