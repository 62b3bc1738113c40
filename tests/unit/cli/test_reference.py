"""The page of the command line (that it is current, tests/style sees to)."""

from orlop.cli.dispatch import MODULES
from orlop.cli.reference import reference


def test_every_command_has_a_section() -> None:
    text = reference()
    for path in MODULES:
        assert (f"\n## orlop {path}\n" in text) == (not path.startswith("__"))
