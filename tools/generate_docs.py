"""`make docs`: the pages that are made from the code's own tables. --check says which of them are out of date (exit 1)."""

import sys
from pathlib import Path

from orlop.api import archive, containers, execs, images, networks, system, unsupported, volumes
from orlop.cli.reference import reference
from orlop.wire.route import Route

DOCS = Path(__file__).resolve().parents[1] / "docs"
NOUNS = {
    "The engine": system,
    "Containers": containers,
    "Files in containers": archive,
    "Execs": execs,
    "Images": images,
    "Volumes": volumes,
    "Networks": networks,
}


def api() -> str:
    """docs/api.md."""
    lines = [
        "# The HTTP API",
        "",
        "Made from the route tables in `src/orlop/api` by `make docs`: do not edit.",
        "",
        f"Docker's Engine API, versions {system.MINIMUM_API_VERSION_TEXT} to {system.API_VERSION_TEXT}, with or without the "
        "prefix `/v1.NN`. Routes below `/orlop` are our own.",
    ]
    for title, module in NOUNS.items():
        lines += ["", f"## {title}", "", *_rows(module.ROUTES)]
    lines += [
        "",
        "## Answered, but not there",
        "",
        "Each says so by name, in Docker's error shape.",
        "",
        *_rows(unsupported.ROUTES),
    ]
    return "\n".join(lines) + "\n"


def _rows(table: tuple[Route, ...]) -> list[str]:
    return [f"- `{route.method} {route.pattern.replace('...', '')}`" for route in table]


def main() -> int:
    """Write the pages, or compare them."""
    pages = {DOCS / "api.md": api(), DOCS / "cli.md": reference()}
    if "--check" not in sys.argv:
        for path, text in pages.items():
            path.write_text(text)
        return 0
    stale = [path.name for path, text in pages.items() if not path.exists() or path.read_text() != text]
    if stale:
        print(f"out of date: {', '.join(stale)}; run `make docs`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
