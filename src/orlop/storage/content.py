"""ContentStore: the small blobs of images (manifests, indexes, configs) by digest, in `blobs/sha256/`. Verified when read."""

from collections.abc import Iterator
from pathlib import Path

from orlop.spec.errors import Corrupt, NotFound
from orlop.spec.image import Digest, digest_of, parse_digest
from orlop.state.atomic import write_file

SIZE_LIMIT = 8 << 20  # of one manifest or config


class ContentStore:
    """Blobs by digest. Any process may write: a blob appears whole, and the same one twice is one."""

    def __init__(self, root: Path) -> None:
        """`root`: the data root."""
        self._blobs = root / "blobs" / "sha256"
        self._blobs.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, digest: Digest) -> Path:
        """Where a blob is, or would be. Raises Corrupt for what is no digest."""
        return self._blobs / parse_digest(digest).removeprefix("sha256:")

    def has(self, digest: Digest) -> bool:
        """Whether the blob is there."""
        return self.path(digest).exists()

    def read(self, digest: Digest) -> bytes:
        """The content. Raises NotFound, or Corrupt when it is not what the digest says."""
        try:
            content = self.path(digest).read_bytes()
        except FileNotFoundError:
            raise NotFound("content", digest) from None
        if digest_of(content) != digest:
            raise Corrupt(f"blob {digest} was changed in the store: it is {digest_of(content)} now")
        return content

    def write(self, content: bytes) -> Digest:
        """Keep some bytes; returns their digest. Raises Corrupt when they are too many, OSError."""
        if len(content) > SIZE_LIMIT:
            raise Corrupt(f"a manifest or config of {len(content)} bytes, where at most {SIZE_LIMIT} are expected")
        digest = digest_of(content)
        write_file(self.path(digest), content)
        return digest

    def remove(self, digest: Digest) -> None:
        """Forget a blob. Idempotent."""
        self.path(digest).unlink(missing_ok=True)

    def digests(self) -> Iterator[Digest]:
        """Every blob."""
        for path in self._blobs.iterdir():
            if not path.name.startswith("new-"):
                yield f"sha256:{path.name}"

    def sweep(self, suffix: str = "") -> None:
        """Remove what a crash left half-written; `suffix`: of names, for what one process left (see `state.atomic`)."""
        for path in self._blobs.glob(f"new-*{suffix}"):
            path.unlink(missing_ok=True)
