"""Filters of lists, prunes and events: name -> values. Docker's rules for what is known and how values match."""

import re
from collections.abc import Collection, Iterable, Mapping

from orlop.spec.errors import InvalidArgument
from orlop.spec.times import parse_time_ns

Filters = Mapping[str, tuple[str, ...]]


def check_filters(filters: Filters, known: Collection[str]) -> None:
    """Raises InvalidArgument for a filter that the list does not have."""
    for name in filters:
        if name not in known:
            raise InvalidArgument(f"invalid filter '{name}'")


def matches_key_values(wanted: Iterable[str], actual: Mapping[str, str]) -> bool:
    """Whether all of `key` and `key=value` hold of a mapping (labels)."""
    for text in wanted:
        key, equals, value = text.partition("=")
        if key not in actual or (equals and actual[key] != value):
            return False
    return True


def matches_pattern(patterns: Iterable[str], *texts: str) -> bool:
    """Whether any pattern, a regular expression or a plain part of the text, is found in one of the texts."""
    return any(_found(pattern, text) for pattern in patterns for text in texts)


def _found(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return pattern in text


def boolean(filters: Filters, name: str, default: bool) -> bool:
    """The value of a yes/no filter. Raises InvalidArgument."""
    values = {value.lower() for value in filters.get(name, ())}
    if not values:
        return default
    if values <= {"1", "true", "t"}:
        return True
    if values <= {"0", "false", "f"}:
        return False
    raise InvalidArgument(f"invalid filter '{name}={sorted(values)}'")


def is_pruned_by(filters: Filters, labels: Mapping[str, str], created_ns: int) -> bool:
    """Whether a prune takes an object: older than `until`, with all of `label`, none of `label!`. Raises InvalidArgument."""
    for text in filters.get("until", ()):
        try:
            if created_ns > parse_time_ns(text):
                return False
        except ValueError:
            raise InvalidArgument(f"invalid filter 'until={text}': not a time or a duration") from None
    if not matches_key_values(filters.get("label", ()), labels):
        return False
    return not any(matches_key_values((text,), labels) for text in filters.get("label!", ()))
