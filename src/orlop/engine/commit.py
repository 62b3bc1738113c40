"""`commit`: a new image of what a container has changed."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

from orlop.engine.defaults import merge_process
from orlop.engine.parts import Parts
from orlop.engine.roster import Container
from orlop.spec.changes import apply_changes
from orlop.spec.container import ContainerRecord, ProcessDefaults, Status
from orlop.spec.errors import Conflict, InvalidArgument, NotFound, NotSupported
from orlop.spec.image import Digest, History, ImageConfig, ImageRecord, chain_ids
from orlop.spec.image_json import encode_config
from orlop.spec.reference import Reference, parse_reference
from orlop.spec.times import rfc3339
from orlop.state.documents import to_plain

if TYPE_CHECKING:
    from orlop.engine.images import Images


class Commit:
    """Makes images of containers."""

    def __init__(self, parts: Parts, images: Images) -> None:
        self._parts, self._images = parts, images

    async def commit(
        self,
        container: Container,
        *,
        repository: str,
        tag: str,
        author: str,
        comment: str,
        changes: tuple[str, ...],
        pause: bool,
        process: ProcessDefaults | None,
    ) -> Digest:
        """The id of the new image: the container's settings, over them `process` and `changes` (lines of a Dockerfile)."""
        record = container.record
        if record.status in (Status.REMOVING, Status.DEAD):
            raise Conflict(f"You cannot commit container {record.id} which is {record.status.value}")
        image = self._parts.images.find(record.image_id)
        if not record.snapshot or image is None:
            raise NotSupported("commit of a container without an image is not supported: use export and import")
        name = reference_of(repository, tag)
        base = apply_changes(process or ProcessDefaults(), changes)
        final = merge_process(base, record.process)
        with self._images.arriving():
            layer = await self._layer(container, image, pause=pause)
            step = History(created=rfc3339(self._parts.clock()), created_by=_command(record), author=author, comment=comment)
            config = _config(image, final, layer["diff_id"], step)
            layers = [to_plain(self._parts.images.layer(chain)) for chain in chain_ids(image.config.diff_ids)]
            arguments = {
                "config": encode_config(config).decode(),
                "layers": [*layers, layer],
                "names": [str(name)] if name else [],
                "parent": image.id,
            }
            made: ImageRecord = await self._images.adopt("image.arrive", arguments)
        attributes = {"comment": comment, "imageID": made.id, "imageRef": name.familiar if name else ""}
        self._parts.events.container("commit", record, **attributes)
        return made.id

    async def _layer(self, container: Container, image: ImageRecord, *, pause: bool) -> dict[str, Any]:
        """The changes as a layer; the container is frozen meanwhile."""
        record = container.record
        chains = chain_ids(image.config.diff_ids)
        async with container.lock, AsyncExitStack() as thaw:
            if pause and container.record.status is Status.RUNNING:
                with suppress(NotFound):  # it has just ended
                    await self._parts.isolation.pause(record.id)
                    thaw.push_async_callback(self._thaw, record.id)
            arguments = {"key": record.snapshot, "parent": chains[-1] if chains else ""}
            layer: dict[str, Any] = await self._parts.workers.run("layer.commit", arguments)
        return layer

    async def _thaw(self, container_id: str) -> None:
        with suppress(NotFound):  # it was ending as it was frozen, and has ended by now
            await self._parts.isolation.resume(container_id)


def _command(record: ContainerRecord) -> str:
    return " ".join((*(record.process.entrypoint or ()), *(record.process.command or ())))


def _config(image: ImageRecord, process: ProcessDefaults, diff_id: Digest, step: History) -> ImageConfig:
    """The new image's config: one step and one layer more than the old one's."""
    return ImageConfig(
        platform=image.config.platform,
        process=process,
        diff_ids=(*image.config.diff_ids, diff_id),
        history=(*image.config.history, step),
        created=step.created,
        author=step.author,
        comment=step.comment,
        parent=image.id,
    )


def reference_of(repository: str, tag: str) -> Reference | None:
    """The name of the new image; None for none. Raises InvalidArgument."""
    if not repository:
        if tag:
            raise InvalidArgument("invalid reference format: a tag needs a repository")
        return None
    found = parse_reference(f"{repository}:{tag}" if tag else repository)
    if found.digest:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    return found.with_default_tag()
