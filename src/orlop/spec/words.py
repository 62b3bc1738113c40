"""Words of a Dockerfile line: split at blanks, quotes and variables resolved. Pure. moby, frontend/dockerfile/shell"""

import re
from collections.abc import Mapping

from orlop.spec.errors import InvalidArgument

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def split(line: str) -> list[str]:
    """The words of a line, quotes and escapes still in them. Raises InvalidArgument for a quote that does not end."""
    words: list[str] = []
    word, quote, position = "", "", 0
    while position < len(line):
        char = line[position]
        if char == "\\" and quote != "'" and position + 1 < len(line):
            word += line[position : position + 2]
            position += 2
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char.isspace():
            if word:
                words.append(word)
            word, position = "", position + 1
            continue
        word += char
        position += 1
    if quote:
        raise InvalidArgument(f"unexpected end of statement while looking for matching {quote}: {line[:200]}")
    return [*words, word] if word else words


def expand(word: str, variables: Mapping[str, str]) -> str:
    """A word without its quotes, with $NAME, ${NAME}, ${NAME:-default}, ${NAME:+other} and ${NAME:?message} resolved."""
    text, quote, position = "", "", 0
    while position < len(word):
        char = word[position]
        position += 1
        if quote == "'":
            quote, text = ("", text) if char == "'" else (quote, text + char)
        elif char == "\\" and position < len(word):
            following = word[position]
            text += following if not quote or following in '"$\\' else char + following
            position += 1
        elif char == "$":
            value, position = _variable(word, position, variables)
            text += value
        elif char == quote:
            quote = ""
        elif char in "\"'" and not quote:
            quote = char
        else:
            text += char
    return text


def _variable(word: str, position: int, variables: Mapping[str, str]) -> tuple[str, int]:
    """The value of the variable whose name begins here, and where its text ends. A $ before anything else stands for itself."""
    if word.startswith("{", position):
        end = _closing_brace(word, position)
        return _substitution(word[position + 1 : end], variables), end + 1
    if found := _NAME.match(word, position):
        return variables.get(found[0], ""), found.end()
    return "$", position


def _closing_brace(word: str, position: int) -> int:
    depth = 0
    for index in range(position, len(word)):
        depth += {"{": 1, "}": -1}.get(word[index], 0)
        if not depth:
            return index
    raise InvalidArgument(f"failed to process {word[:200]!r}: syntax error: missing '}}'")


def _substitution(text: str, variables: Mapping[str, str]) -> str:
    found = _NAME.match(text)
    if not found:
        raise InvalidArgument(f"failed to process ${{{text[:100]}}}: bad substitution")
    name, rest = found[0], text[found.end() :]
    value = variables.get(name)
    if not rest:
        return value or ""
    colon = rest.startswith(":")
    operator, other = rest[int(colon) : int(colon) + 1], rest[int(colon) + 1 :]
    there = bool(value) if colon else value is not None
    if operator == "-":
        return (value or "") if there else expand(other, variables)
    if operator == "+":
        return expand(other, variables) if there else ""
    if operator == "?":
        if not there:
            raise InvalidArgument(f"{name}: {expand(other, variables) or 'not allowed to be unset'}")
        return value or ""
    raise InvalidArgument(f"failed to process ${{{text[:100]}}}: unsupported modifier ({rest[:2]}) in substitution")
