"""Which compressed forms of a layer which repositories are known to hold, so that a push need not send them again."""

from orlop.spec.image import Digest
from orlop.spec.registry import BlobSource, BlobSources
from orlop.state.records import Records

_KEPT = 16  # of one layer, newest first


class Sources:
    """Known blobs by diff id. Hints only: whoever uses one asks the registry whether it is still true."""

    def __init__(self, records: Records[BlobSources]) -> None:
        self._records = records
        self._known = records.load()

    def of(self, diff_id: Digest) -> tuple[BlobSource, ...]:
        """Newest first."""
        found = self._known.get(diff_id)
        return found.sources if found else ()

    def add(self, diff_id: Digest, source: BlobSource) -> None:
        """Remember, and write down when it is news."""
        others = tuple(one for one in self.of(diff_id) if (one.digest, one.repository) != (source.digest, source.repository))
        changed = BlobSources(sources=(source, *others)[:_KEPT])
        if changed != self._known.get(diff_id):
            self._known[diff_id] = changed
            self._records.save(diff_id, changed, can_wait=True)

    def forget(self, diff_id: Digest) -> None:
        """The layer is gone from here."""
        if self._known.pop(diff_id, None):
            self._records.delete(diff_id)
