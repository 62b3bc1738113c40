"""The engine: its nouns, as the API finds them. Built in daemon.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orlop.engine.containers import Containers
    from orlop.engine.events import Events
    from orlop.engine.execs import Execs
    from orlop.engine.images import Images
    from orlop.engine.networks import Networks
    from orlop.engine.sweeper import Sweeper
    from orlop.engine.system import System
    from orlop.engine.volumes import Volumes


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One service per noun. `sweeper.touch()` is to be called for each request: what is slow to destroy waits for quiet."""

    containers: Containers
    execs: Execs
    images: Images
    volumes: Volumes
    networks: Networks
    system: System
    events: Events
    sweeper: Sweeper
