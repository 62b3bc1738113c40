"""The verbs on images."""

import builtins
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from orlop.engine import image_filters
from orlop.engine.adoption import Adoption, Progress
from orlop.engine.filters import Filters, boolean, check_filters, is_pruned_by
from orlop.engine.image_removal import ImageRemoval, references_of
from orlop.engine.parts import Parts
from orlop.engine.progress import Tell, told
from orlop.engine.pulls import Pulls
from orlop.engine.pushes import Pushes
from orlop.engine.removal import Removal as ContainerRemoval
from orlop.engine.sources import Sources
from orlop.registry.resolve import Site
from orlop.spec.changes import apply_changes
from orlop.spec.container import ProcessDefaults
from orlop.spec.errors import Conflict, InvalidArgument, NotFound
from orlop.spec.image import (
    History,
    HistoryEntry,
    ImageArrival,
    ImageConfig,
    ImageRecord,
    Removal,
    host_platform,
    parse_platform,
)
from orlop.spec.image_json import encode_config
from orlop.spec.progress import ProgressEvent
from orlop.spec.reference import Reference, parse_reference, with_tag
from orlop.spec.registry import BlobSources, Credentials, Distribution, Login, RegistryOptions, SearchHit
from orlop.spec.times import rfc3339
from orlop.state.documents import from_plain, to_plain
from orlop.state.records import Records

PRUNE_FILTERS = frozenset({"dangling", "label", "label!", "until"})


class Images:
    """All images, by id and name."""

    def __init__(self, parts: Parts, registries: RegistryOptions, sources: Records[BlobSources]) -> None:
        known = Sources(sources)
        self._parts = parts
        self._registries = registries
        self._adoption = Adoption(parts)
        self._removal = ImageRemoval(parts, self._adoption)
        self._purge = ContainerRemoval(parts)
        self._pulls = Pulls(parts, registries, known, self._adoption)
        self._pushes = Pushes(parts, registries, known, self._adoption)

    # What is there.

    def list(self, *, all: bool = False, filters: Filters | None = None) -> builtins.list[ImageRecord]:
        """Newest first, each with the names that pass; `all`: parents of others too. Raises InvalidArgument."""
        return image_filters.select(self._parts.images, all=all, filters=filters or {})

    def get(self, reference: str) -> ImageRecord:
        """By name, id or a beginning of it. Raises NotFound."""
        return self._parts.images.get(reference)

    def history(self, reference: str) -> builtins.list[HistoryEntry]:
        """How it was made, the last step first. Raises NotFound."""
        return builtins.list(self._parts.images.history(self.get(reference)))

    def containers_of(self, record: ImageRecord) -> int:
        """How many containers are of it."""
        return sum(container.image_id == record.id for container in self._parts.roster.records())

    # From and to registries.

    def pull(self, reference: str, *, platform: str = "", auth: Credentials | None = None) -> AsyncIterator[ProgressEvent]:
        """Pull a tag, a digest, or (neither said) every tag."""
        wanted = parse_reference(reference)

        async def story(tell: Tell) -> None:
            await self._pulls.pull(wanted, platform, auth or Credentials(), tell)
            self._emit_by_name("pull", wanted)

        return told(story, self._parts.spawn)

    def push(self, reference: str, *, auth: Credentials | None = None) -> AsyncIterator[ProgressEvent]:
        """Push a tag, or (none said) every tag of the repository."""
        wanted = parse_reference(reference)

        async def story(tell: Tell) -> None:
            await self._pushes.push(wanted, auth or Credentials(), tell)
            self._emit_by_name("push", wanted)

        return told(story, self._parts.spawn)

    async def search(self, term: str, limit: int, filters: Filters) -> builtins.list[SearchHit]:
        """Ask the registry that the term names, else Docker Hub. Raises RegistryFailed."""
        check_filters(filters, image_filters.SEARCH)
        args = {"term": term, "limit": limit, "credentials": to_plain(Credentials()), "options": to_plain(self._registries)}
        found = [from_plain(hit, SearchHit) for hit in await self._parts.workers.run("registry.search", args)]
        return [hit for hit in found if image_filters.is_hit(hit, filters)]

    async def login(self, credentials: Credentials) -> Login:
        """Try credentials. Raises Unauthorized, RegistryFailed."""
        args = {"credentials": to_plain(credentials), "options": to_plain(self._registries)}
        return from_plain(await self._parts.workers.run("registry.login", args), Login)

    async def distribution(self, reference: str, auth: Credentials | None) -> Distribution:
        """What a registry has under a name. Raises NotFoundThere, RegistryFailed."""
        wanted = parse_reference(reference).with_default_tag()
        site = Site(reference=wanted, credentials=auth or Credentials(), options=self._registries)
        return from_plain(await self._parts.workers.run("registry.describe", {"site": to_plain(site)}), Distribution)

    # From and to archives.

    def load(self, body: AsyncIterator[bytes], *, quiet: bool = False) -> AsyncIterator[ProgressEvent]:
        """Images out of an archive of `docker save`, or an OCI layout, as a stream."""

        async def story(tell: Tell) -> None:
            with self._adoption.arriving():
                progress = None if quiet else _progress_of(tell)
                answer = await self._parts.workers.write("image.load", {}, body, progress=progress)
                for plain in answer["images"]:
                    self._loaded(from_plain(plain, ImageArrival), tell)

        return told(story, self._parts.spawn)

    def _loaded(self, arrival: ImageArrival, tell: Tell) -> None:
        for name in arrival.names:
            if (old := self._parts.images.find(name)) and old.id != arrival.config:
                shown = parse_reference(name).familiar
                text = f"The image {shown} already exists, renaming the old one with ID {old.id} to empty string\n"
                tell(ProgressEvent(stream=text))
        record = self._adoption.register(arrival)
        for name in arrival.names:
            tell(ProgressEvent(stream=f"Loaded image: {parse_reference(name).familiar}\n"))
        if not arrival.names:
            tell(ProgressEvent(stream=f"Loaded image ID: {record.id}\n"))
        self._emit("load", record, record.id)

    def save(self, references: tuple[str, ...], *, platform: str = "") -> AsyncIterator[bytes]:
        """An archive that `load` and docker understand. A repository without a tag stands for all its tags. Raises NotFound."""
        wanted: dict[str, dict[str, None]] = {}
        for text in references:
            for record, name in self._saved(text):
                wanted.setdefault(record.id, {}).update({name: None} if name else {})
        images = [self._saved_image(self.get(image_id), builtins.list(names)) for image_id, names in wanted.items()]
        for image_id in wanted:
            self._emit("save", self.get(image_id), image_id)
        return self._parts.workers.read("image.save", {"images": images})

    def _saved(self, text: str) -> builtins.list[tuple[ImageRecord, str]]:
        """The images that a word on save's command line stands for, each with the name to save it under ("": none)."""
        record = self._parts.images.find(text)
        try:
            wanted = parse_reference(text)
        except InvalidArgument:  # 64 digits: an id
            return [(self.get(text), "")]
        tagged = [(record, one) for record in self._parts.images.list() for one in references_of(record) if one.tag]
        if not wanted.tag and not wanted.digest:
            same = [(record, str(one)) for record, one in tagged if one.repository == wanted.repository]
            if same:
                return same
        if record is None:
            raise NotFound("image", text)
        named = wanted.tag and not wanted.digest
        return [(record, str(wanted) if named else "")]

    def _saved_image(self, record: ImageRecord, names: builtins.list[str]) -> dict[str, Any]:
        return {"config": record.id, "names": names, "layers": to_plain(self._adoption.layers(record))}

    def import_(
        self,
        body: AsyncIterator[bytes] | None,
        *,
        source_url: str = "",
        repository: str = "",
        tag: str = "",
        message: str = "",
        changes: tuple[str, ...] = (),
        platform: str = "",
    ) -> AsyncIterator[ProgressEvent]:
        """An image of one layer, from a tar of a root file system. Raises InvalidArgument."""
        name = _new_name(repository, tag) if repository else None
        process = apply_changes(ProcessDefaults(), changes)
        wanted = parse_platform(platform) if platform else host_platform()

        async def story(tell: Tell) -> None:
            with self._adoption.arriving():
                layer = await self._import_layer(body, source_url, tell)
                created = rfc3339(self._parts.clock())
                step = History(created=created, comment=message or f"Imported from {source_url or '-'}")
                config = ImageConfig(
                    platform=wanted,
                    process=process,
                    diff_ids=(layer["diff_id"],),
                    history=(step,),
                    created=created,
                    comment=message,
                )
                args = {
                    "config": encode_config(config).decode(),
                    "layers": [layer],
                    "names": [str(name)] if name else [],
                    "parent": "",
                }
                record = await self._adoption.adopt("image.arrive", args)
            if name:
                self._emit("tag", record, name.familiar)
            self._emit("import", record, record.id)
            tell(ProgressEvent(status=record.id))

        return told(story, self._parts.spawn)

    async def _import_layer(self, body: AsyncIterator[bytes] | None, url: str, tell: Tell) -> Any:
        if body is not None:
            return await self._parts.workers.write("layer.import", {"parent": ""}, body)
        full = url if "://" in url else f"http://{url}"
        args = {"url": full, "options": to_plain(self._registries)}
        return await self._parts.workers.run("layer.download", args, progress=_progress_of(tell))

    def bootstrap(
        self, name: str, *, variant: str = "", packages: tuple[str, ...] = (), tag: str = ""
    ) -> AsyncIterator[ProgressEvent]:
        """A base image from the distribution's own packages: debian:SUITE, or busybox. `tag`: a name of its own."""
        wanted = parse_reference(tag or name).with_default_tag()

        async def story(tell: Tell) -> None:
            args = {"name": name, "variant": variant, "packages": builtins.list(packages), "tag": str(wanted)}
            record = await self._adoption.adopt("image.bootstrap", args, _progress_of(tell))
            self._emit("import", record, record.id)
            tell(ProgressEvent(status=f"Digest: {record.manifest}"))
            tell(ProgressEvent(status=f"Status: Made image {wanted.familiar}"))

        return told(story, self._parts.spawn)

    # Changes.

    def arriving(self) -> AbstractContextManager[None]:
        """Nothing is collected meanwhile: what a worker is writing has no name yet."""
        return self._adoption.arriving()

    async def adopt(self, job: str, args: Mapping[str, Any], progress: Progress | None = None) -> ImageRecord:
        """Run a job that makes an ImageArrival (commit, build), and register the image."""
        return await self._adoption.adopt(job, args, progress)

    async def tag(self, reference: str, repository: str, tag: str) -> None:
        """Give an image a further name, which another image may lose by it. Raises InvalidArgument, NotFound."""
        record, name = self.get(reference), _new_name(repository, tag)
        self._parts.images.tag(record.id, name)
        self._emit("tag", record, name.familiar)

    async def remove(self, reference: str, *, force: bool = False, prune: bool = True) -> builtins.list[Removal]:
        """Take a name away, or an image. Raises Conflict, NotFound."""
        removals = self._removal.remove(reference, force=force, prune=prune)
        self.collect()
        return removals

    async def prune(self, filters: Filters) -> tuple[builtins.list[Removal], int]:
        """Remove what has no tag (`dangling=false`: what no container has); and the bytes that this has freed."""
        check_filters(filters, PRUNE_FILTERS)
        dangling = boolean(filters, "dangling", True)
        removals: builtins.list[Removal] = []
        for record in image_filters.prunable(self._parts.images, dangling=dangling):
            if self.containers_of(record) or not is_pruned_by(filters, record.config.process.labels, record.created_ns):
                continue
            for text in [str(one) for one in references_of(record)] or [record.id.partition(":")[2]]:
                try:
                    removals += self._removal.remove(text, force=False, prune=True)
                except (Conflict, NotFound):  # in use, or gone with another name
                    continue
        freed = self.collect()
        self._parts.events.emit("image", "prune", "", {"reclaimed": str(freed)})
        return removals, freed

    def collect(self) -> int:
        """Remove layers and documents that no image and no container needs; the bytes that this frees."""
        freed = self._adoption.collect()
        self._purge.purge_later()
        return freed

    def _emit(self, action: str, record: ImageRecord, name: str) -> None:
        self._parts.events.emit("image", action, record.id, {**record.config.process.labels, "name": name})

    def _emit_by_name(self, action: str, reference: Reference) -> None:
        record = self._parts.images.find(str(reference))
        labels = record.config.process.labels if record else {}
        self._parts.events.emit("image", action, reference.familiar, {**labels, "name": reference.familiar_name})


def _new_name(repository: str, tag: str) -> Reference:
    """A name to give: a repository and perhaps a tag. Raises InvalidArgument."""
    name = parse_reference(repository)
    if name.digest:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    return with_tag(name, tag) if tag else name.with_default_tag()


def _progress_of(tell: Tell) -> Progress:
    """A job's progress messages as those of the stream."""

    def forward(message: dict[str, Any]) -> None:
        tell(
            ProgressEvent(
                status=str(message.get("status") or message.get("phase") or ""),
                id=str(message.get("id") or ""),
                current=int(message.get("current") or 0),
                total=int(message.get("total") or 0),
                stream=str(message.get("stream") or ""),
            )
        )

    return forward
