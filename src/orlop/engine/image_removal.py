"""`rmi`: names are taken away, and an image without a name goes, as Docker decides it. moby, daemon/images/image_delete.go"""

from dataclasses import dataclass, field

from orlop.engine.adoption import Adoption
from orlop.engine.parts import Parts
from orlop.engine.roster import ACTIVE
from orlop.spec.container import ContainerRecord
from orlop.spec.errors import Conflict
from orlop.spec.image import ImageRecord, Removal, chain_ids
from orlop.spec.reference import Reference, parse_reference

SHORT = 12


@dataclass
class _Done:
    """What has been taken away so far."""

    removals: list[Removal] = field(default_factory=list)

    def untagged(self, reference: Reference) -> None:
        self.removals.append(Removal(untagged=reference.familiar))

    def deleted(self, digest: str) -> None:
        self.removals.append(Removal(deleted=digest))


class ImageRemoval:
    """Removes names and images. Every verb raises Conflict in Docker's words, and then nothing was removed."""

    def __init__(self, parts: Parts, adoption: Adoption) -> None:
        self._parts = parts
        self._adoption = adoption

    def remove(self, text: str, *, force: bool, prune: bool) -> list[Removal]:
        """Remove by name (the name, and the image with its last one) or by id (the image, with its only name)."""
        record = self._parts.images.get(text)
        done = _Done()
        if is_id_of(record.id, text):
            if is_single(references_of(record)):
                self._refuse(self._conflict(record, force=force, names=False))
                for reference in references_of(record):
                    self._untag(record, reference, done)
            self._delete(record, done, force=force, prune=prune, quiet=False)
        elif not self._remove_name(record, text, done, force=force):
            self._delete(record, done, force=force, prune=prune, quiet=True)
        return done.removals

    def _remove_name(self, record: ImageRecord, text: str, done: _Done, *, force: bool) -> bool:
        """Take one name away. Whether others are left, so that the image stays."""
        reference = parse_reference(text).with_default_tag()
        if reference.digest:
            reference = Reference(reference.domain, reference.path, "", reference.digest)
        if not force and is_single(references_of(record)) and (user := self._user(record)):
            raise Conflict(
                f'conflict: unable to remove repository reference "{text}" (must force) - container {user.id[:SHORT]} '
                f"is using its referenced image {_short(record.id)}"
            )
        self._untag(record, reference, done)
        left = references_of(self._parts.images.get(record.id))
        if not reference.digest and not any(one.tag and one.repository == reference.repository for one in left):
            for orphan in (one for one in left if one.repository == reference.repository):
                self._untag(record, orphan, done, tell=False)
            left = [one for one in left if one.repository != reference.repository]
        return bool(left)

    def _delete(self, record: ImageRecord, done: _Done, *, force: bool, prune: bool, quiet: bool) -> None:
        """Delete an image and then, without force, each parent that nothing else needs."""
        present = self._parts.images.get(record.id)
        conflict = self._conflict(present, force=force, names=True)
        if conflict and quiet and (references_of(present) or conflict.used or self._parts.images.children(present.id)):
            return
        self._refuse(conflict)
        for reference in references_of(present):
            self._untag(present, reference, done)
        gone = self._released(present)
        self._parts.images.remove(present.id)
        self._emit(present, "delete")
        done.deleted(present.id)
        for chain_id in reversed(gone):
            done.deleted(chain_id)
        parent = self._parts.images.find(present.parent) if prune and present.parent else None
        if parent:
            self._delete(parent, done, force=False, prune=True, quiet=True)

    def _refuse(self, conflict: "_Conflict | None") -> None:
        if conflict:
            raise Conflict(conflict.message)

    def _conflict(self, record: ImageRecord, *, force: bool, names: bool) -> "_Conflict | None":
        """What stands in the way: some things always, others (a stopped container, and names if they count) but for force."""
        if self._parts.images.children(record.id):
            return _conflict(record, "cannot be forced", "image has dependent child images")
        if running := self._user(record, running=True):
            reason = f"image is being used by running container {running.id[:SHORT]}"
            return _conflict(record, "cannot be forced", reason, used=True)
        if force:
            return None
        if names and references_of(record):
            return _conflict(record, "must be forced", "image is referenced in multiple repositories")
        if stopped := self._user(record):
            reason = f"image is being used by stopped container {stopped.id[:SHORT]}"
            return _conflict(record, "must be forced", reason, used=True)
        return None

    def _user(self, record: ImageRecord, *, running: bool = False) -> ContainerRecord | None:
        """A container of this image."""
        for container in self._parts.roster.records():
            if container.image_id == record.id and (not running or container.status in ACTIVE):
                return container
        return None

    def _released(self, record: ImageRecord) -> list[str]:
        """The layers that go with the image: neither another image nor a container has them."""
        others = (one for one in self._parts.images.list() if one.id != record.id)
        kept = {chain_id for one in others for chain_id in chain_ids(one.config.diff_ids)} | self._adoption.used()
        return [chain_id for chain_id in chain_ids(record.config.diff_ids) if chain_id not in kept]

    def _untag(self, record: ImageRecord, reference: Reference, done: _Done, *, tell: bool = True) -> None:
        self._parts.images.untag(reference)
        done.untagged(reference)
        if tell:
            self._emit(record, "untag")

    def _emit(self, record: ImageRecord, action: str) -> None:
        attributes = {**record.config.process.labels, "name": record.id}
        self._parts.events.emit("image", action, record.id, attributes)


@dataclass(frozen=True)
class _Conflict:
    message: str
    used: bool  # by a container


def _conflict(record: ImageRecord, force: str, reason: str, *, used: bool = False) -> _Conflict:
    return _Conflict(f"conflict: unable to delete {_short(record.id)} ({force}) - {reason}", used)


def _short(digest: str) -> str:
    return digest.partition(":")[2][:SHORT]


def is_id_of(image_id: str, text: str) -> bool:
    """Whether the text is the id or a beginning of it, with or without the algorithm."""
    return image_id.startswith(text) or image_id.partition(":")[2].startswith(text)


def references_of(record: ImageRecord) -> list[Reference]:
    """All names, tags first."""
    return [parse_reference(name) for name in (*record.tags, *record.digests)]


def is_single(references: list[Reference]) -> bool:
    """Whether all names are of one repository, with at most one tag. False for none."""
    tags = [reference for reference in references if not reference.digest]
    return bool(references) and len(tags) <= 1 and len({reference.repository for reference in references}) == 1
