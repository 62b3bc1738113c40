"""The docs tell the truth where a test can see it: generated pages are fresh, links lead somewhere, every room is on the map."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_generated_pages_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/generate_docs.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_links_lead_somewhere() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
        if not target.startswith(("http:", "https:")) and not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_room_is_on_the_map() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    rooms = [path.name for path in (ROOT / "src/orlop").iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert [room for room in rooms if f"`{room}/`" not in text] == []


def test_files_that_the_docs_name_exist() -> None:
    text = "".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"`((?:src|tests|tools|examples|docs)/[\w./-]+\.\w+)`", text))
    named |= {
        f"src/orlop/{name}"
        for name in re.findall(
            r"`((?:api|cli|client|engine|kernel|network|registry|runtime|spec|state|storage|wire)/[\w/]+\.py)`", text
        )
    }
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
