"""What an engine may leave on a host, counted: mounts, cgroups, network namespaces, links, firewall rules, processes, files."""

import subprocess
from pathlib import Path

from orlop.network.options import NetworkOptions
from support.engine import Engine, mounts_below

READY = NetworkOptions().pool_size


def leftovers(engine: Engine) -> dict[str, list[str]]:
    """Everything that exists on behalf of this engine's containers right now; the engine's own fixtures are not counted."""
    return {
        "mounts": [point for point in mounts_below(engine.home) if "/netns" not in point or Path(point).name.isalnum()],
        "cgroups": sorted(str(path) for path in _cgroups(engine.cgroup_parent)),
        "links": _links(),
        "firewall": _published(),
        "bundles": sorted(path.name for path in (engine.exec_root / "bundles").glob("*")),
        "containers": sorted(
            path.name for path in (engine.data_root / "containers").glob("[!n]*")
        ),  # but for new-*, kept ready
    }


def _cgroups(parent: str) -> list[Path]:
    roots = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]
    return [child for root in roots if (top := Path(f"{root}{parent}")).is_dir() for child in top.iterdir() if child.is_dir()]


def _links() -> list[str]:
    """The host's ends of connected containers' interfaces, but for the few kept ready; those cut off are disabled ports."""
    ports = subprocess.run(["bridge", "link", "show"], capture_output=True, text=True, check=False).stdout
    return ["connected"] * (ports.count("state forwarding") - READY)


def _published() -> list[str]:
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=False).stdout
    return sorted(line.strip() for line in rules.splitlines() if "elements" in line)
