"""The counts of a pytest report (JUnit XML), and what did not pass by the reason that it gave."""

import sys
from collections import Counter
from collections.abc import Iterator
from xml.etree import ElementTree

REASONS = (  # (what the message says, how the table names it)
    ("swarm mode is not supported", "swarm mode: services, secrets, configs, nodes"),
    ("building images is not supported", "building images"),
    ("nslookup", "names of containers in DNS"),
)
MESSAGE_LENGTH = 160


def results(path: str) -> Iterator[tuple[str, str, str]]:
    """(test, outcome, message) of every test case; a case that failed and could not be torn down counts once."""
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname', '').removeprefix('tests.integration.')}::{case.get('name')}"
        found = next((case.find(kind) for kind in ("failure", "error", "skipped") if case.find(kind) is not None), None)
        outcome = {"failure": "failed", "error": "failed", "skipped": "skipped"}[found.tag] if found is not None else "passed"
        yield name, outcome, found.get("message", "") if found is not None else ""


def reason(message: str) -> str:
    """The group of a failure, "" for one that is nobody's known lack."""
    return next((group for sign, group in REASONS if sign in message), "")


def main() -> int:
    counts: Counter[str] = Counter()
    groups: Counter[str] = Counter()
    others = []
    for name, outcome, message in results(sys.argv[1]):
        counts[outcome] += 1
        if outcome == "failed":
            groups[reason(message)] += 1
            if not reason(message):
                others.append(f"{name}: {' '.join(message.split())[:MESSAGE_LENGTH]}")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped, of {counts.total()}")
    for group, count in sorted(groups.items()):
        if group:
            print(f"  {count:4} {group}")
    for line in others:
        print(f"       {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
