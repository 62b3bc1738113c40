"""The verbs on images that need no registry: names, removal as Docker decides it, lists, archives, import."""

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orlop.spec.container import ContainerRecord, ContainerSpec, ProcessDefaults, Status
from orlop.spec.errors import Conflict, InvalidArgument, NotFound
from orlop.spec.image import ImageRecord, Removal, chain_ids
from orlop.spec.image_json import encode_config
from orlop.spec.registry import RegistryOptions
from orlop.state.documents import to_plain
from support.image_engine import Library, library
from support.registry import MadeImage, make_image, skopeo

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeImage:
    return make_image(tmp_path_factory.mktemp("made"), "made:1", files=({"etc/motd": b"hello\n"},))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> MadeImage:
    return make_image(tmp_path_factory.mktemp("other"), "other:1", files=({"etc/motd": b"hello\n"}, {"etc/x": b"x"}))


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Callable[[Library], Awaitable[Any]]], Any]:
    """Do something with an images engine."""

    def whole(story: Callable[[Library], Awaitable[Any]]) -> Any:
        async def inside() -> Any:
            async with library(tmp_path / "root", RegistryOptions()) as opened:
                return await story(opened)

        return asyncio.run(inside())

    return whole


async def load(opened: Library, *images: MadeImage) -> None:
    for image in images:
        await opened.tell(opened.images.load(_body(image.archive.read_bytes())))


async def _body(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 1 << 16):
        yield content[start : start + (1 << 16)]


def use(opened: Library, image: MadeImage, status: Status = Status.EXITED, container_id: str = "c" * 64) -> str:
    """A container of the image."""
    chain = chain_ids(image.diff_ids)[-1]
    opened.store.snapshots.prepare(container_id, chain)
    record = ContainerRecord(
        id=container_id, name=container_id[:8], spec=ContainerSpec(), process=ProcessDefaults(), image_id=image.id, created_ns=1,
        status=status, snapshot=container_id,
    )  # fmt: skip
    opened.roster.add(record)
    return container_id


def free(opened: Library, container_id: str) -> None:
    """Remove the container."""
    opened.roster.delete(opened.roster.get(container_id))
    opened.store.snapshots.remove(container_id)


async def child_of(opened: Library, parent: MadeImage, *names: str) -> ImageRecord:
    """An image as `commit` makes it, with no layer of its own."""
    record = opened.images.get(parent.id)
    config = replace(record.config, process=replace(record.config.process, user="child"), parent=record.id)
    layers = [to_plain(opened.parts.images.layer(chain_id)) for chain_id in chain_ids(record.config.diff_ids)]
    args = {"config": encode_config(config).decode(), "layers": layers, "names": list(names), "parent": record.id}
    return await opened.images.adopt("image.arrive", args)


def test_load_tells_the_name_and_the_old_one_loses_it(run: Any, made: MadeImage, other: MadeImage) -> None:
    async def story(opened: Library) -> None:
        messages = await opened.tell(opened.images.load(_body(made.archive.read_bytes())))
        assert messages[-1].stream == "Loaded image: made:1\n"
        record = opened.images.get("made:1")
        assert (record.id, record.config.diff_ids, record.tags) == (made.id, made.diff_ids, ("docker.io/library/made:1",))
        await load(opened, other)
        await opened.images.tag("other:1", "made", "1")
        messages = await opened.tell(opened.images.load(_body(made.archive.read_bytes())))
        text = f"The image made:1 already exists, renaming the old one with ID {other.id} to empty string\n"
        assert [message.stream for message in messages if message.stream][-2:] == [text, "Loaded image: made:1\n"]
        assert opened.images.get(other.id).tags == ("docker.io/library/other:1",)

    run(story)


def test_what_was_saved_skopeo_and_we_read_as_it_was(run: Any, made: MadeImage, tmp_path: Path) -> None:
    async def story(opened: Library) -> bytes:
        await load(opened, made)
        await opened.images.tag("made:1", "made", "2")
        whole = b"".join([block async for block in opened.images.save(("made",))])
        return whole

    archive = tmp_path / "saved.tar"
    archive.write_bytes(run(story))
    with tarfile.open(archive) as opened_archive:
        (listed,) = json.loads(opened_archive.extractfile("manifest.json").read())  # type: ignore[union-attr]
    assert sorted(listed["RepoTags"]) == ["made:1", "made:2"]
    seen = json.loads(skopeo("inspect", "--config", f"docker-archive:{archive}:made:2"))
    assert tuple(seen["rootfs"]["diff_ids"]) == made.diff_ids
    layout = tmp_path / "layout"
    skopeo("copy", f"docker-archive:{archive}:made:1", f"oci:{layout}:made")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        packed.add(layout, ".")

    async def back(opened: Library) -> tuple[str, ...]:
        messages = await opened.tell(opened.images.load(_body(buffer.getvalue())))
        assert messages[-1].stream.startswith("Loaded image")
        return opened.images.list()[0].config.diff_ids

    run_back = asyncio.run(_with(tmp_path / "back", back))
    assert run_back == made.diff_ids


async def _with(root: Path, story: Callable[[Library], Awaitable[Any]]) -> Any:
    async with library(root, RegistryOptions()) as opened:
        return await story(opened)


def test_an_archive_that_is_none_leaves_nothing(run: Any) -> None:
    async def story(opened: Library) -> None:
        with pytest.raises((InvalidArgument, Exception)) as caught:
            await opened.tell(opened.images.load(_body(b"not a tar" * 1000)))
        assert "not" in str(caught.value) or "archive" in str(caught.value)
        assert (opened.images.list(all=True), opened.leftovers()) == ([], [])

    run(story)


# Removal.


def test_a_name_goes_and_with_the_last_one_the_image(run: Any, made: MadeImage) -> None:
    async def story(opened: Library) -> None:
        await load(opened, made)
        await opened.images.tag("made:1", "alias", "2")
        opened.events.clear()
        assert await opened.images.remove("alias:2") == [Removal(untagged="alias:2")]
        last = await opened.images.remove("made:1")
        chains = chain_ids(made.diff_ids)
        assert last == [
            Removal(untagged="made:1"),
            Removal(deleted=made.id),
            *(Removal(deleted=chain) for chain in reversed(chains)),
        ]
        assert opened.events == [("untag", made.id, made.id), ("untag", made.id, made.id), ("delete", made.id, made.id)]
        assert list(opened.store.content.digests()) == []
        assert not any(opened.store.layers.has(chain) for chain in chains)
        with pytest.raises(NotFound, match="No such image: made:1"):
            await opened.images.remove("made:1")

    run(story)


def test_layers_that_another_image_has_stay(run: Any, made: MadeImage, other: MadeImage) -> None:
    async def story(opened: Library) -> None:
        await load(opened, made, other)
        removed = await opened.images.remove("other:1")
        assert removed[1:] == [Removal(deleted=other.id), Removal(deleted=chain_ids(other.diff_ids)[-1])]
        assert opened.store.layers.has(chain_ids(made.diff_ids)[-1])

    run(story)


def test_by_id(run: Any, made: MadeImage) -> None:
    async def story(opened: Library) -> None:
        await load(opened, made)
        await opened.images.tag("made:1", "alias", "2")
        with pytest.raises(Conflict) as caught:
            await opened.images.remove(made.id[7:19])
        short = made.id[7:19]
        assert str(caught.value) == (
            f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )
        removed = await opened.images.remove(made.id, force=True)
        assert {one.untagged for one in removed if one.untagged} == {"made:1", "alias:2"}
        assert opened.images.list(all=True) == []

    run(story)


def test_an_image_in_use(run: Any, made: MadeImage) -> None:
    short = made.id[7:19]

    async def story(opened: Library) -> None:
        await load(opened, made)
        container = use(opened, made)
        with pytest.raises(Conflict) as caught:
            await opened.images.remove("made:1")
        assert str(caught.value) == (
            f'conflict: unable to remove repository reference "made:1" (must force) - container {container[:12]} '
            f"is using its referenced image {short}"
        )
        with pytest.raises(Conflict) as caught:
            await opened.images.remove(short)
        reason = f"image is being used by stopped container {container[:12]}"
        assert str(caught.value) == f"conflict: unable to delete {short} (must be forced) - {reason}"
        await opened.images.tag("made:1", "alias", "2")
        assert await opened.images.remove("alias:2") == [Removal(untagged="alias:2")], "another name is left"
        running = use(opened, made, Status.RUNNING, "d" * 64)
        with pytest.raises(Conflict) as caught:
            await opened.images.remove(short, force=True)
        reason = f"image is being used by running container {running[:12]}"
        assert str(caught.value) == f"conflict: unable to delete {short} (cannot be forced) - {reason}"
        assert opened.images.get("made:1").id == made.id
        free(opened, running)
        removed = await opened.images.remove("made:1", force=True)
        assert removed == [Removal(untagged="made:1"), Removal(deleted=made.id)], "the container keeps its layers"
        assert opened.store.layers.has(chain_ids(made.diff_ids)[-1])
        free(opened, container)
        await load(opened, made)
        await opened.images.remove("made:1")
        assert not opened.store.layers.has(chain_ids(made.diff_ids)[0])

    run(story)


def test_parents_and_children(run: Any, made: MadeImage) -> None:
    async def story(opened: Library) -> None:
        await load(opened, made)
        child = await child_of(opened, made, "docker.io/library/child:1")
        with pytest.raises(Conflict, match=r"\(cannot be forced\) - image has dependent child images"):
            await opened.images.remove(made.id[7:], force=True)
        assert await opened.images.remove("made:1") == [Removal(untagged="made:1")], "what a child is made of stays, nameless"
        assert [record.id for record in opened.images.list()] == [child.id]
        assert {record.id for record in opened.images.list(all=True)} == {child.id, made.id}
        removed = await opened.images.remove("child:1")
        assert [one.deleted for one in removed if one.deleted][:2] == [child.id, made.id], "the parent goes with the child"
        assert opened.images.list(all=True) == []

    run(story)


def test_prune(run: Any, made: MadeImage, other: MadeImage) -> None:
    async def story(opened: Library) -> None:
        await load(opened, made, other)
        await opened.images.tag("other:1", "made", "1")  # made has no name now
        removed, freed = await opened.images.prune({"label": ("made=by nobody",)})
        assert (removed, freed) == ([], 0)
        with pytest.raises(InvalidArgument, match="invalid filter 'colour'"):
            await opened.images.prune({"colour": ("red",)})
        removed, freed = await opened.images.prune({})
        assert removed == [Removal(deleted=made.id)], "its layers are the other's too"
        container = use(opened, other)
        assert await opened.images.prune({"dangling": ("false",)}) == ([], 0)
        free(opened, container)
        removed, freed = await opened.images.prune({"dangling": ("false",)})
        assert {one.untagged for one in removed if one.untagged} == {"other:1", "made:1"}
        assert freed > 100_000
        assert opened.events[-1][0] == "prune"

    run(story)


# Lists and names.


def test_filters_of_the_list(run: Any, made: MadeImage, other: MadeImage) -> None:
    async def story(opened: Library) -> None:
        await load(opened, made, other)
        await opened.images.tag("made:1", "registry.example:5000/team/made", "")

        def names(**filters: tuple[str, ...]) -> list[str]:
            return sorted(name for record in opened.images.list(filters=filters) for name in record.tags)

        assert names(reference=("made",)) == ["docker.io/library/made:1"]
        assert names(reference=("*:1",)) == ["docker.io/library/made:1", "docker.io/library/other:1"]
        assert names(reference=("registry.example:5000/*/made",)) == ["registry.example:5000/team/made:latest"]
        assert names(reference=("nothing",)) == []
        assert len(names(label=("made=by hand",))) == 3
        assert names(label=("made=by robot",)) == []
        assert names(dangling=("true",)) == []
        assert len(names(dangling=("false",))) == 3
        assert names(since=("made:1",)) == [], "they are of the same second"
        with pytest.raises(NotFound):
            names(before=("nobody",))
        with pytest.raises(InvalidArgument, match="invalid filter 'colour'"):
            names(colour=("red",))
        with pytest.raises(InvalidArgument, match="syntax error in pattern"):
            names(reference=("[",))
        await opened.images.tag("other:1", "made", "1")
        await opened.images.remove("registry.example:5000/team/made")
        assert opened.images.list(filters={"dangling": ("true",)}) == []

    run(story)


def test_names_are_checked(run: Any, made: MadeImage) -> None:
    async def story(opened: Library) -> None:
        await load(opened, made)
        for repository, tag in (("Upper", ""), ("x", "a b"), ("", ""), ("x@sha256:" + "1" * 64, "")):
            with pytest.raises(InvalidArgument):
                await opened.images.tag("made:1", repository, tag)
        with pytest.raises(NotFound, match="No such image: nobody:latest"):
            await opened.images.tag("nobody", "x", "")
        await opened.images.tag("made:1", "x", "")
        assert opened.events[-1] == ("tag", made.id, "x:latest")

    run(story)


def test_import_gives_an_image_of_one_layer(run: Any) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("hello")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"world"))

    async def story(opened: Library) -> None:
        importing = opened.images.import_(
            _body(buffer.getvalue()), repository="imported", tag="1", message="by test",
            changes=('CMD ["/hello"]', "ENV A=b"), platform="linux/arm64",
        )  # fmt: skip
        messages = await opened.tell(importing)
        record = opened.images.get("imported:1")
        assert messages[-1].status == record.id
        assert record.config.process == ProcessDefaults(command=("/hello",), env=("A=b",))
        assert (str(record.config.platform), len(record.config.diff_ids)) == ("linux/arm64", 1)
        (entry,) = opened.images.history("imported:1")
        assert (entry.id, entry.comment, entry.size) == (record.id, "by test", 5)
        with pytest.raises(InvalidArgument, match="RUN is not a valid change command"):
            opened.images.import_(_body(b""), changes=("RUN x",))

    run(story)
