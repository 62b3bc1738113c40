"""Images in and out of the store: load and save in every format, names, history, garbage, volumes, and the workers that do it."""

import asyncio
import gzip
import hashlib
import io
import json
import lzma
import os
import signal
import subprocess
import tarfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import zstandard

from orlop.engine.workers import Workers
from orlop.spec.container import ProcessDefaults
from orlop.spec.errors import Corrupt, InvalidArgument, NoSuchPath, NotFound, OrlopError, Unavailable
from orlop.spec.image import History, ImageConfig, ImageRecord, Platform, chain_ids, digest_of
from orlop.spec.image_json import encode_config
from orlop.spec.reference import parse_reference
from orlop.spec.volume import VolumeSpec
from orlop.storage import gc, trees
from orlop.storage.arrivals import arrive
from orlop.storage.compression import BlockSource
from orlop.storage.images import ImageStore
from orlop.storage.inside import archive_path, extract_into, stat_path
from orlop.storage.loading import load
from orlop.storage.saving import SavedImage, save
from orlop.storage.store import Store
from orlop.storage.trees import opened
from orlop.storage.volumes import VolumeStore, purge
from support.tars import directory, file, symlink, tar

pytestmark = pytest.mark.root

T = TypeVar("T")
LAYERS = (tar(directory("etc"), file("etc/a", b"a" * 5000), symlink("l", "etc/a")), tar(file("etc/b", b"b" * 300_000)))
NAME = "docker.io/library/box:1"


class Memory(dict[str, Any]):
    """Records without a database."""

    def load(self) -> dict[str, Any]:
        return dict(self)

    def save(self, key: str, value: Any, /, *, can_wait: bool = False) -> None:
        self[key] = value

    def delete(self, key: str, /) -> None:
        self.pop(key, None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


@pytest.fixture
def images(store: Store) -> ImageStore:
    return ImageStore(store, Memory())


def diff_id(layer: bytes) -> str:
    return f"sha256:{hashlib.sha256(layer).hexdigest()}"


def config(*layers: bytes, **fields: Any) -> bytes:
    steps = tuple(History(created="2024-01-01T00:00:00Z", created_by=f"step {number}") for number, _ in enumerate(layers))
    return encode_config(
        ImageConfig(
            platform=Platform(),
            process=ProcessDefaults(command=("sh",)),
            diff_ids=tuple(diff_id(layer) for layer in layers),
            history=(*steps, History(created_by="ENV A=b", empty_layer=True)),
            created="2024-01-02T00:00:00.5Z",
            **fields,
        )
    )


def docker_archive(
    *layers: bytes, names: tuple[str, ...] = ("box:1",), change: Callable[[dict[str, bytes]], None] = lambda _: None
) -> bytes:
    """What `docker save` wrote before 25: layers, then the config, then the manifest."""
    content = config(*layers)
    parts = {f"{number}/layer.tar": layer for number, layer in enumerate(layers)}
    manifest = [{"Config": f"{digest_of(content)[7:]}.json", "RepoTags": list(names), "Layers": list(parts)}]
    parts |= {f"{digest_of(content)[7:]}.json": content, "manifest.json": json.dumps(manifest).encode()}
    change(parts)
    return tar(*(file(name, body) for name, body in parts.items()))


def oci_archive(
    *layers: bytes, compress: Callable[[bytes], bytes] = gzip.compress, kind: str = "+gzip", name: str = NAME
) -> bytes:
    """An OCI image layout in a tar, with an index for two platforms."""
    blobs = [compress(layer) for layer in layers]
    content = config(*layers)
    oci = "application/vnd.oci.image"

    def descriptor(media_type: str, blob: bytes, **fields: object) -> dict[str, object]:
        return {"mediaType": media_type, "digest": digest_of(blob), "size": len(blob), **fields}

    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "config": descriptor(f"{oci}.config.v1+json", content),
            "layers": [descriptor(f"{oci}.layer.v1.tar{kind}", blob) for blob in blobs],
        }
    ).encode()
    other = {
        "mediaType": f"{oci}.manifest.v1+json",
        "digest": f"sha256:{'0' * 64}",
        "size": 5,
        "platform": {"os": "plan9", "architecture": "x"},
    }
    machine = {"os": "linux", "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]}
    inner = json.dumps(
        {"schemaVersion": 2, "manifests": [other, descriptor(f"{oci}.manifest.v1+json", manifest, platform=machine)]}
    ).encode()
    entry = descriptor(f"{oci}.index.v1+json", inner, annotations={"io.containerd.image.name": name} if name else {})
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    files = [file(f"blobs/sha256/{digest_of(blob)[7:]}", blob) for blob in (*blobs, content, manifest, inner)]
    return tar(*files, file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), file("index.json", index))


def loaded(store: Store, images: ImageStore, archive: bytes) -> list[ImageRecord]:
    return [images.register(arrival, 5) for arrival in load(store, io.BytesIO(archive), lambda _: None)]


def saved(store: Store, images: ImageStore, record: ImageRecord, *names: str) -> bytes:
    layers = [images.layer(chain) for chain in chain_ids(record.config.diff_ids)]
    return b"".join(save(store, [SavedImage(config=record.id, layers=tuple(layer for layer in layers if layer), names=names)]))


def leftovers(store: Store) -> list[str]:
    return sorted(path.name for path in (store.root / "snapshots").iterdir() if path.name != "init")


ARCHIVES = {
    "docker": docker_archive(*LAYERS),
    "docker, gzip": gzip.compress(docker_archive(*LAYERS)),
    "docker, zstd": zstandard.compress(docker_archive(*LAYERS)),
    "docker, xz": lzma.compress(docker_archive(*LAYERS)),
    "OCI, gzip layers": oci_archive(*LAYERS),
    "OCI, zstd layers": oci_archive(*LAYERS, compress=zstandard.compress, kind="+zstd"),
    "OCI, plain layers": oci_archive(*LAYERS, compress=bytes, kind=""),
}


@pytest.mark.parametrize("archive", ARCHIVES.values(), ids=list(ARCHIVES))
def test_an_archive_is_loaded(store: Store, images: ImageStore, archive: bytes) -> None:
    (record,) = loaded(store, images, archive)
    assert record.id == digest_of(config(*LAYERS))
    assert record.tags == (NAME,)
    assert record.config.process.command == ("sh",)
    assert record.size == 5000 + 5 + 300_000
    assert record.created_ns == 1_704_153_600_500_000_000
    assert images.get("box:1") == record
    assert len(leftovers(store)) == 2
    for layer, chain in zip(LAYERS, chain_ids(record.config.diff_ids), strict=True):
        assert b"".join(store.layers.replay(diff_id(layer), chain)) == layer


def test_what_is_saved_is_both_formats_and_loads_again(store: Store, images: ImageStore, tmp_path: Path) -> None:
    (record,) = loaded(store, images, ARCHIVES["OCI, gzip layers"])
    content = saved(store, images, record, NAME, "example.com/other/box:2")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        names = archive.getnames()
        (entry,) = json.load(archive.extractfile("manifest.json"))
        index = json.load(archive.extractfile("index.json"))
        assert archive.extractfile(entry["Layers"][1]).read() == LAYERS[1]
    assert {"oci-layout", "repositories", entry["Config"], *entry["Layers"]} <= set(names)
    assert entry["RepoTags"] == ["box:1", "example.com/other/box:2"]
    assert [one["annotations"]["io.containerd.image.name"] for one in index["manifests"]] == [NAME, "example.com/other/box:2"]
    elsewhere = Store(tmp_path / "other")
    (again,) = loaded(elsewhere, ImageStore(elsewhere, Memory()), content)
    assert (again.id, again.tags) == (record.id, (NAME, "example.com/other/box:2"))
    only_oci = content.replace(b"manifest.json", b"manifest.jsom")
    assert only_oci != content


def test_skopeo_reads_what_is_saved_and_we_what_skopeo_writes(store: Store, images: ImageStore, tmp_path: Path) -> None:
    (record,) = loaded(store, images, ARCHIVES["docker"])
    ours = tmp_path / "ours.tar"
    ours.write_bytes(saved(store, images, record, NAME))
    for transport in ("oci-archive", "docker-archive"):
        theirs = tmp_path / f"{transport}.tar"
        target = f"{transport}:{theirs}:docker.io/library/again:2"
        subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", f"docker-archive:{ours}", target], check=True)
        (again,) = loaded(store, images, theirs.read_bytes())
        assert again.config.diff_ids == record.config.diff_ids
        assert images.get("again:2").id == again.id


def test_an_image_that_is_here_already_is_loaded_without_a_trace(store: Store, images: ImageStore) -> None:
    (first,) = loaded(store, images, ARCHIVES["docker"])
    (second,) = loaded(store, images, ARCHIVES["OCI, gzip layers"])
    assert replace(second, manifest=first.manifest) == first
    assert len(leftovers(store)) == 2


def test_images_of_one_archive_share_their_layers(store: Store, images: ImageStore) -> None:
    contents = [config(LAYERS[0]), config(*LAYERS), config(LAYERS[1], LAYERS[0])]
    entries = [
        {"Config": "a.json", "RepoTags": ["a:1"], "Layers": ["0.tar"]},
        {"Config": "b.json", "RepoTags": None, "Layers": ["x/layer.tar", "1.tar"]},
        {"Config": "c.json", "RepoTags": ["c:1"], "Layers": ["1.tar", "0.tar"]},
    ]
    archive = tar(
        *(file(f"{number}.tar", layer) for number, layer in enumerate(LAYERS)),
        symlink("x/layer.tar", "../0.tar"),
        *(file(f"{name}.json", content) for name, content in zip("abc", contents, strict=True)),
        file("manifest.json", json.dumps(entries).encode()),
    )
    records = loaded(store, images, archive)
    assert [record.id for record in records] == [digest_of(content) for content in contents]
    assert records[1].tags == ()
    assert len(leftovers(store)) == 4  # two of the first two images, two of the third


def drop(name: str) -> Callable[[dict[str, bytes]], None]:
    return lambda parts: parts.pop(next(part for part in parts if part.endswith(name))) and None


def put(name: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda parts: parts.update({next((part for part in parts if part.endswith(name)), name): content})


@pytest.mark.parametrize(
    ("archive", "error", "reason"),
    [
        (b"", InvalidArgument, "holds no image"),
        (tar(), InvalidArgument, "holds no image"),
        (b"no archive at all" * 100, Corrupt, "tar header"),
        (docker_archive(*LAYERS)[:200_000], Corrupt, "unexpected end"),
        (gzip.compress(docker_archive(*LAYERS))[:-20], Corrupt, "cut off"),
        (docker_archive(*LAYERS, change=drop("manifest.json")), InvalidArgument, "holds no image"),
        (docker_archive(*LAYERS, change=put("manifest.json", b"[{}]")), Corrupt, "malformed"),
        (docker_archive(*LAYERS, change=put("manifest.json", b"{")), Corrupt, "JSON"),
        (docker_archive(*LAYERS, change=put("manifest.json", b'[{"Config":"../../etc/passwd","Layers":[]}]')), InvalidArgument, "outside"),
        (docker_archive(*LAYERS, change=drop("1/layer.tar")), Corrupt, "has no layer"),
        (docker_archive(*LAYERS, change=put("1/layer.tar", tar(file("other")))), Corrupt, "invalid diffID for layer 1"),
        (docker_archive(*LAYERS, change=put("1/layer.tar", LAYERS[1].replace(b"bbb", b"bXb", 1))), Corrupt, "invalid diffID for layer 1"),
        (docker_archive(*LAYERS, change=put("1/layer.tar", tar(file("../../evil", b"")))), InvalidArgument, "outside"),
        (docker_archive(*LAYERS, names=("Upper:1",)), InvalidArgument, "lowercase"),
        (docker_archive(*LAYERS, names=("box",)), InvalidArgument, "invalid tag"),
        (oci_archive(*LAYERS).replace(b"2024-01-02", b"2025-01-02"), Corrupt, "was changed"),
        (oci_archive(*LAYERS, compress=bytes, kind="").replace(b"aaaa", b"aaXa", 1), Corrupt, "was changed"),
    ],
)  # fmt: skip
def test_a_bad_archive_is_refused_and_nothing_of_it_stays(
    store: Store, images: ImageStore, archive: bytes, error: type[OrlopError], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        loaded(store, images, archive)
    assert leftovers(store) == []
    assert images.list() == ()
    assert list(store.content.digests()) == []


def test_names_come_and_go(store: Store, images: ImageStore) -> None:
    (first,) = loaded(store, images, docker_archive(LAYERS[0]))
    (second,) = loaded(store, images, docker_archive(LAYERS[1]))
    assert images.get("box:1").id == second.id  # the name went over
    assert images.get(first.id).tags == ()
    images.tag(first.id, parse_reference("registry.example:5000/x/y"))
    assert images.get("registry.example:5000/x/y:latest").id == first.id
    assert images.get(first.id[7:19]).id == first.id
    images.tag(second.id, parse_reference(f"box@sha256:{'a' * 64}"))
    assert images.get(f"box:9@sha256:{'a' * 64}").digests == (f"docker.io/library/box@sha256:{'a' * 64}",)
    images.untag(parse_reference("box:1"))
    for missing, shown in {"box:1": "box:1", "box": "box:latest", "f" * 64: "f" * 64, "abcdef": "abcdef:latest"}.items():
        with pytest.raises(NotFound, match=f"^No such image: {shown}$"):
            images.get(missing)
    with pytest.raises(InvalidArgument, match="invalid reference format"):
        images.get("not a name")


def test_records_last_over_a_restart(store: Store) -> None:
    records = Memory()
    (record,) = loaded(store, ImageStore(store, records), ARCHIVES["docker"])
    again = ImageStore(Store(store.root), records)
    assert again.get("box:1") == record
    assert again.config_bytes(record) == config(*LAYERS)


def test_history_tells_sizes_and_parents(store: Store, images: ImageStore) -> None:
    (parent,) = loaded(store, images, docker_archive(LAYERS[0]))
    layer = store.layers.extract(io.BytesIO(LAYERS[1]), parent=parent.config.diff_ids[0])
    steps = (*parent.config.history, History(created_by="committed", comment="why"))
    content = encode_config(replace(parent.config, diff_ids=(*parent.config.diff_ids, layer.diff_id), history=steps))
    below = images.layer(parent.config.diff_ids[0])
    assert below is not None
    child = images.register(
        arrive(store.content, (below, layer), content, names=("docker.io/library/child:1",), parent=parent.id), 7
    )
    assert [(entry.id, entry.created_by, entry.size, entry.comment) for entry in images.history(child)] == [
        (child.id, "committed", 300_000, "why"),
        (parent.id, "ENV A=b", 0, ""),
        ("<missing>", "step 0", 5005, ""),
    ]
    assert images.history(child)[1].tags == (NAME,)
    assert images.children(parent.id) == (child,)


def test_garbage_is_what_no_image_and_no_container_needs(store: Store, images: ImageStore) -> None:
    (one,) = loaded(store, images, docker_archive(LAYERS[0], names=("one:1",)))
    (two,) = loaded(store, images, docker_archive(*LAYERS, names=("two:1",)))
    images.remove(two.id)
    chains = chain_ids(two.config.diff_ids)
    assert gc.collect(store, images, pinned=(chains[1],)) == 0
    assert gc.collect(store, images) == 300_000
    store.snapshots.purge()
    assert (store.layers.has(chains[0]), store.layers.has(chains[1])) == (True, False)
    assert set(store.content.digests()) == {one.id, one.manifest}
    assert len(leftovers(store)) == 1


def test_a_changed_config_is_corrupt(store: Store, images: ImageStore) -> None:
    (record,) = loaded(store, images, ARCHIVES["docker"])
    store.content.path(record.id).write_bytes(b"{}")
    with pytest.raises(Corrupt, match="was changed in the store"):
        images.config_bytes(record)


# Volumes.


def test_volumes_live_and_die(tmp_path: Path) -> None:
    records = Memory()
    volumes = VolumeStore(tmp_path, records)
    record = volumes.create(VolumeSpec(name="data"), 5)
    (Path(record.mountpoint) / "file").write_bytes(b"x")
    assert record.mountpoint == f"{tmp_path}/volumes/data/_data"
    assert volumes.create(VolumeSpec(name="data"), 6) == record
    anonymous = volumes.create(VolumeSpec(), 7, anonymous=True)
    assert len(anonymous.name) == 64
    assert VolumeStore(tmp_path, records).list() == volumes.list()
    volumes.remove("data")
    assert not (tmp_path / "volumes/data").exists()
    with pytest.raises(NotFound, match="get data: no such volume"):
        volumes.get("data")


def test_a_volume_may_be_called_as_what_is_swept_elsewhere(tmp_path: Path) -> None:
    records = Memory()
    kept = VolumeStore(tmp_path, records).create(VolumeSpec(name="new-data"), 5)
    (Path(kept.mountpoint) / "file").write_bytes(b"x")
    assert VolumeStore(tmp_path, records).list() == (kept,)
    purge(tmp_path)
    assert (Path(kept.mountpoint) / "file").read_bytes() == b"x"


@pytest.mark.parametrize("calls", range(12))
def test_a_crash_leaves_a_volume_whole_or_gone(tmp_path: Path, calls: int) -> None:
    """The process dies before its n-th rename or write of a record, while a volume is made, removed and made again."""
    left = iter(range(calls))
    records = Memory()

    def step(action: Callable[..., Any]) -> Callable[..., Any]:
        def limited(*args: Any, **options: Any) -> Any:
            if next(left, None) is None:
                raise _Crash
            return action(*args, **options)

        return limited

    with pytest.MonkeyPatch.context() as patch, suppress(_Crash):
        volumes = VolumeStore(tmp_path, records)
        for name in ("save", "delete"):
            patch.setattr(Memory, name, step(getattr(Memory, name)))
        patch.setattr(os, "rename", step(os.rename))
        patch.setattr("orlop.storage.volumes.remove_tree", step(trees.remove_tree))
        volumes.create(VolumeSpec(name="data"), 5)
        volumes.remove("data")
        volumes.create(VolumeSpec(name="data"), 5)
    found = VolumeStore(tmp_path, records).list()
    purge(tmp_path)
    assert [record.name for record in found] == sorted(os.listdir(tmp_path / "volumes"))
    assert [record.name for record in found] == sorted(records)
    assert all(Path(record.mountpoint).is_dir() for record in found)


class _Crash(BaseException):
    """As if the process ended here."""


def test_a_volume_of_another_file_system_says_what_to_mount(tmp_path: Path) -> None:
    volumes = VolumeStore(tmp_path, Memory())
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=5"}
    mount = volumes.mount_of(volumes.create(VolumeSpec(name="scratch", options=options), 1))
    assert mount is not None
    assert (mount.fstype, mount.source, mount.options) == ("tmpfs", "tmpfs", ("size=1m", "uid=5"))
    bound = volumes.mount_of(
        volumes.create(VolumeSpec(name="bound", options={"type": "none", "device": "/srv", "o": "bind"}), 1)
    )
    assert bound is not None
    assert (bound.fstype, bound.source) == ("bind", "/srv")
    assert volumes.mount_of(volumes.create(VolumeSpec(name="plain"), 1)) is None


# Files in and out.


def test_files_go_in_and_out_of_a_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "srv/www").mkdir(parents=True)
    (root / "way").symlink_to("/srv")
    with opened(root) as fd:
        extract_into(
            fd,
            "/way/www",
            "box",
            io.BytesIO(gzip.compress(tar(directory("./"), file("page", b"hello", uid=7), directory("d")))),
        )
        assert stat_path(fd, "/way/www/page", "box").size == 5
        assert stat_path(fd, "/way", "box").link_target == "/srv"
        assert stat_path(fd, "/way/", "box").link_target == ""
        with tarfile.open(fileobj=io.BytesIO(b"".join(archive_path(fd, "/way/www", "box")))) as archive:
            assert archive.getnames() == ["www", "www/d", "www/page"]
        with tarfile.open(fileobj=io.BytesIO(b"".join(archive_path(fd, "/way/www/page", "box")))) as archive:
            (member,) = archive
            assert (member.name, member.uid, archive.extractfile(member).read()) == ("page", 7, b"hello")
        with pytest.raises(NoSuchPath, match="Could not find the file /nowhere/x in container box"):
            stat_path(fd, "/nowhere/x", "box")
        with pytest.raises(NoSuchPath):
            extract_into(fd, "/nowhere", "box", io.BytesIO(tar()))
        with pytest.raises(InvalidArgument, match="extraction point is not a directory"):
            extract_into(fd, "/srv/www/page", "box", io.BytesIO(tar()))
        with pytest.raises(InvalidArgument, match='cannot overwrite directory "d" with non-directory'):
            extract_into(fd, "/srv/www", "box", io.BytesIO(tar(file("d", b"x"))), no_overwrite=True)
        with pytest.raises(InvalidArgument, match='cannot overwrite non-directory "page" with directory'):
            extract_into(fd, "/srv/www", "box", io.BytesIO(tar(directory("page"))), no_overwrite=True)
        extract_into(fd, "/srv/www", "box", io.BytesIO(tar(file("d", b"x"))), owner=(5, 6))
    assert (os.stat(root / "srv/www/d").st_uid, os.stat(root / "srv/www/d").st_gid) == (5, 6)


# Workers.


def run(body: Callable[[Workers], Coroutine[Any, Any, T]], root: Path, **options: Any) -> T:
    async def whole() -> T:
        workers = Workers(root, **options)
        try:
            return await asyncio.wait_for(body(workers), 60)
        finally:
            await workers.close()

    return asyncio.run(whole())


async def pieces(content: bytes, size: int = 65_536, pause: float = 0) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]
        if pause:
            await asyncio.sleep(pause)


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


async def ended() -> None:
    """All workers have ended."""
    while children():  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def test_a_stream_goes_through_a_worker_both_ways(tmp_path: Path) -> None:
    async def body(workers: Workers) -> bytes:
        told: list[dict[str, Any]] = []
        answer = await workers.write("image.load", {}, pieces(ARCHIVES["docker, gzip"]), progress=told.append)
        assert told[-1]["status"] == "Loading layer"
        (image,) = answer["images"]
        asked = {"config": image["config"], "names": image["names"], "layers": image["layers"]}
        return b"".join([block async for block in workers.read("image.save", {"images": [asked]})])

    content = run(body, tmp_path)
    assert tarfile.open(fileobj=io.BytesIO(content)).getnames()[-1] == "repositories"
    assert children() == set()


@pytest.mark.parametrize(
    ("error", "job", "args"),
    [
        (NotFound, "no.such.job", {}),
        (NotFound, "snapshot.changes", {"key": "missing"}),
        (Corrupt, "image.arrive", {"config": "{", "layers": [], "names": [], "parent": ""}),
        (InvalidArgument, "image.bootstrap", {"name": "plan9", "variant": "", "packages": [], "tag": ""}),
        (OrlopError, "volume.copy_up", {}),
    ],
)
def test_a_job_that_fails_raises_here_what_it_raised_there(
    tmp_path: Path, error: type[OrlopError], job: str, args: dict[str, Any]
) -> None:
    async def body(workers: Workers) -> None:
        for _ in range(2):
            with pytest.raises(error) as caught:
                await workers.run(job, args)
            assert type(caught.value) is error

    run(body, tmp_path)


def test_an_archive_refused_midway_does_not_wait_for_its_rest(tmp_path: Path) -> None:
    async def body(workers: Workers) -> None:
        with pytest.raises(Corrupt):
            await workers.write("image.load", {}, pieces(bytes([1]) * (8 << 20)))
        with pytest.raises(NoSuchPath):
            [
                block
                async for block in workers.read("archive.get", {"root": {"pid": os.getpid()}, "path": "/no", "container": "c"})
            ]

    run(body, tmp_path)


def test_a_cancelled_job_stops_and_cleans_up(tmp_path: Path) -> None:
    async def body(workers: Workers) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(workers.write("image.load", {}, pieces(ARCHIVES["docker"], 1000, 0.05)), 1.5)
        await ended()

    run(body, tmp_path)
    assert leftovers(Store(tmp_path)) == []


def test_a_worker_that_is_killed_is_missed_by_its_job_only(tmp_path: Path) -> None:
    async def body(workers: Workers) -> None:
        job = asyncio.ensure_future(workers.write("image.load", {}, pieces(ARCHIVES["docker"], 1000, 0.05)))
        await asyncio.sleep(0.5)
        os.kill(children().pop(), signal.SIGKILL)
        with pytest.raises(Unavailable):
            await job
        assert await workers.run("tree.usage", {"paths": [str(tmp_path / "absent")]}) == {str(tmp_path / "absent"): 0}

    run(body, tmp_path)


def test_an_idle_worker_is_used_again_and_then_ends(tmp_path: Path) -> None:
    async def body(workers: Workers) -> None:
        await workers.run("tree.usage", {"paths": []})
        (first,) = children()
        await workers.run("tree.usage", {"paths": []})
        assert children() == {first}
        await ended()

    run(body, tmp_path, idle_seconds=0.3)


def test_a_worker_keeps_its_mounts_to_itself(store: Store) -> None:
    layer = store.layers.extract(BlockSource(iter([LAYERS[0]])))
    mounts = store.snapshots.prepare("k", layer.chain_id)
    destination = store.root / "volume"
    destination.mkdir()

    async def body(workers: Workers) -> bool:
        args = {"mounts": [[one.fstype, one.source, list(one.options)] for one in mounts]}
        exported = [block async for block in workers.read("tree.export", {"root": args})]
        assert "etc/a" in tarfile.open(fileobj=io.BytesIO(b"".join(exported))).getnames()
        return bool(await workers.run("volume.copy_up", args | {"path": "/etc", "destination": str(destination)}))

    before = Path("/proc/self/mountinfo").read_text()
    assert run(body, store.root)
    assert Path("/proc/self/mountinfo").read_text() == before
    assert (destination / "a").read_bytes() == b"a" * 5000
