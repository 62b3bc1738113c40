"""Which images a list, a prune and a search show. Pure but for looking at the store. moby, daemon/images/images.go"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache

from orlop.engine.filters import Filters, boolean, check_filters, is_pruned_by, matches_key_values
from orlop.spec.errors import InvalidArgument
from orlop.spec.image import ImageRecord
from orlop.spec.reference import Reference, parse_reference
from orlop.spec.registry import SearchHit
from orlop.storage.images import ImageStore

LIST = frozenset({"before", "dangling", "label", "label!", "reference", "since", "until"})
SEARCH = frozenset({"is-automated", "is-official", "stars"})


def select(images: ImageStore, *, all: bool, filters: Filters) -> list[ImageRecord]:
    """The list, newest first. A record shows only the names that pass. Raises InvalidArgument, NotFound (before, since)."""
    check_filters(filters, LIST)
    dangling = boolean(filters, "dangling", False) if filters.get("dangling") else None
    is_wanted = _predicate(images, filters)
    patterns = tuple(filters.get("reference", ()))
    found = []
    for record in images.list():
        if not is_wanted(record) or (dangling and images.children(record.id)):
            continue
        shown = _with_names(record, patterns) if patterns else record
        if not shown.tags and not shown.digests:
            if patterns or dangling is False or (not all and images.children(record.id)):
                continue
        elif dangling and shown.tags:
            continue
        found.append(shown)
    return sorted(found, key=lambda record: record.created_ns, reverse=True)


def prunable(images: ImageStore, *, dangling: bool) -> list[ImageRecord]:
    """What a prune may take, children before their parents: what is only part of another image goes with that."""
    found = []
    for record in images.list():
        if images.children(record.id) and (dangling or not (record.tags or record.digests)):
            continue
        if not (dangling and record.tags):
            found.append(record)
    return sorted(found, key=lambda record: bool(images.children(record.id)))


def _predicate(images: ImageStore, filters: Filters) -> Callable[[ImageRecord], bool]:
    """The filters that look at the image, not at its names."""
    before = min((images.get(text).created_ns for text in filters.get("before", ())), default=None)
    since = max((images.get(text).created_ns for text in filters.get("since", ())), default=None)
    prune_filters = {name: values for name, values in filters.items() if name in ("until", "label!")}

    def is_wanted(record: ImageRecord) -> bool:
        labels = record.config.process.labels
        return (
            (before is None or record.created_ns < before)
            and (since is None or record.created_ns > since)
            and matches_key_values(filters.get("label", ()), labels)
            and is_pruned_by(prune_filters, labels, record.created_ns)
        )

    return is_wanted


def _with_names(record: ImageRecord, patterns: tuple[str, ...]) -> ImageRecord:
    return replace(record, tags=tuple(_matching(record.tags, patterns)), digests=tuple(_matching(record.digests, patterns)))


def _matching(names: tuple[str, ...], patterns: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        reference = parse_reference(name)
        if any(matches_reference(pattern, reference) for pattern in patterns):
            yield name


def matches_reference(pattern: str, reference: Reference) -> bool:
    """Whether a pattern fits a name as users write it, with or without its tag. Raises InvalidArgument for a bad pattern."""
    compiled = _glob(pattern)
    return any(compiled.fullmatch(text) for text in (reference.familiar, reference.familiar_name))


@lru_cache(maxsize=64)
def _glob(pattern: str) -> re.Pattern[str]:
    """Go's path.Match: * and ? do not cross a slash; [a-z], [^a-z]; a backslash takes the next character as it is."""
    parts, position = [], 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*":
            parts.append("[^/]*")
        elif char == "?":
            parts.append("[^/]")
        elif char == "\\" and position < len(pattern):
            parts.append(re.escape(pattern[position]))
            position += 1
        elif char == "[" and (end := pattern.find("]", position + 1)) > 0:
            inside = pattern[position:end]
            negated = inside.startswith("^")
            parts.append(f"[{'^' if negated else ''}{inside[negated:].replace('[', chr(92) + '[')}]")
            position = end + 1
        elif char in "[\\":
            raise InvalidArgument(f"invalid filter 'reference={pattern}': syntax error in pattern")
        else:
            parts.append(re.escape(char))
    try:
        return re.compile("".join(parts))
    except re.error:
        raise InvalidArgument(f"invalid filter 'reference={pattern}': syntax error in pattern") from None


def is_hit(hit: SearchHit, filters: Filters) -> bool:
    """Whether a search shows it. Raises InvalidArgument."""
    for name, value in (("is-official", hit.official), ("is-automated", hit.automated)):
        if filters.get(name) and boolean(filters, name, False) != value:
            return False
    for text in filters.get("stars", ()):
        if not text.isdigit():
            raise InvalidArgument(f"invalid filter 'stars={text}'")
        if hit.stars < int(text):
            return False
    return True
