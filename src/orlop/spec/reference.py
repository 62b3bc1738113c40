"""Names of images: "alpine:3" <-> Reference.

Grammar and normalisation are those of the distribution reference package (docker.io, library/, latest).
"""

import re
from dataclasses import dataclass

from orlop.spec.errors import InvalidArgument

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
NAME_LENGTH = 255

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_REFERENCE = re.compile(
    rf"(?P<name>(?:{_DOMAIN}/)?{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?",
    re.ASCII,
)
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_ID = re.compile(r"[a-f0-9]{64}")
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository on a registry, and one of its images by tag, by digest, or not said."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """Fully qualified name without tag or digest: docker.io/library/alpine."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """As users write it, without tag or digest: alpine."""
        if self.domain != DEFAULT_DOMAIN:
            return self.repository
        return self.path.removeprefix("library/") if self.path.count("/") == 1 else self.path

    @property
    def familiar(self) -> str:
        """As users write it: alpine:3, alpine@sha256:..."""
        return self.familiar_name + self._suffix()

    def with_default_tag(self) -> "Reference":
        """The same with the tag `latest` where neither tag nor digest is given."""
        return self if self.tag or self.digest else Reference(self.domain, self.path, DEFAULT_TAG)

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.repository + self._suffix()


def parse_reference(text: str) -> Reference:
    """Parse what a user wrote, filling in docker.io and library/ (but no tag).

    Raises InvalidArgument with Docker's wording.
    """
    if _ID.fullmatch(text):
        raise InvalidArgument(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    found = _REFERENCE.fullmatch(text)
    if not found:
        raise InvalidArgument(_why_not(text))
    digest = found["digest"] or ""
    if digest and not _DIGEST.fullmatch(digest):
        raise InvalidArgument("invalid reference format: unsupported digest algorithm or length")
    domain, path = _split(found["name"])
    if len(path) > NAME_LENGTH:
        raise InvalidArgument(f"repository name must not be more than {NAME_LENGTH} characters")
    return Reference(domain, path, found["tag"] or "", digest)


def with_tag(reference: Reference, tag: str) -> Reference:
    """The repository with this tag instead of its own. Raises InvalidArgument with Docker's wording."""
    if not _TAG.fullmatch(tag):
        raise InvalidArgument("invalid tag format")
    return Reference(reference.domain, reference.path, tag)


def _why_not(text: str) -> str:
    """What is wrong with a text that is no reference: most often capital letters."""
    path = _split(text)[1].partition("@")[0]
    head, _, last = path.rpartition("/")
    path = f"{head}/{last.partition(':')[0]}".lstrip("/")
    if path != path.lower() and _REFERENCE.fullmatch(text.lower()):
        return f"invalid reference format: repository name ({path}) must be lowercase"
    return "invalid reference format"


def _split(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        first, rest = DEFAULT_DOMAIN, name
    if first == "index.docker.io":
        first = DEFAULT_DOMAIN
    if first == DEFAULT_DOMAIN and "/" not in rest:
        rest = f"library/{rest}"
    return first, rest
