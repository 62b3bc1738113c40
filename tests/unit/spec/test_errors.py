"""Errors as users are shown them."""

import os

import pytest

from orlop.spec.errors import NotFound, in_words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, os.strerror(28)), "no space left on device"),
        (OSError(28, os.strerror(28), "/srv/File"), "/srv/File: no space left on device"),
        (OSError(28, f'cannot extract "A": {os.strerror(28)}'), 'cannot extract "A": no space left on device'),
        (OSError(2, os.strerror(2), b"/a\xff"), "/a?: no such file or directory"),
        (OSError(9, os.strerror(9), 7), "bad file descriptor"),
        (OSError("broken"), "broken"),
        (TimeoutError(), "TimeoutError"),
        (NotFound("image", "x:1"), "No such image: x:1"),
    ],
    ids=str,
)
def test_an_error_in_words(error: Exception, words: str) -> None:
    assert in_words(error) == words
