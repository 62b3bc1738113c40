"""The images part of an engine, real but for containers: store, workers, pulls and pushes on a directory of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from orlop.engine.events import Events
from orlop.engine.images import Images
from orlop.engine.roster import Roster
from orlop.engine.workers import Workers
from orlop.spec.container import ContainerRecord
from orlop.spec.image import ImageRecord
from orlop.spec.progress import ProgressEvent
from orlop.spec.registry import BlobSources, RegistryOptions
from orlop.state.database import Database
from orlop.state.records import Records
from orlop.storage.images import ImageStore
from orlop.storage.store import Store


class Library:
    """`images` are the engine's verbs; `events` has what they told."""

    def __init__(self, root: Path, options: RegistryOptions) -> None:
        self.root = root
        self._stories: set[asyncio.Task[None]] = set()
        root.mkdir(parents=True, exist_ok=True)
        database = Database(root / "state.db")
        self.store = Store(root)
        self.roster = Roster(Records(database, "containers", ContainerRecord))
        self.workers = Workers(root)
        self.events: list[tuple[str, str, str]] = []
        events = Events()
        events.emit = lambda kind, action, actor, attributes: self.events.append((action, actor, attributes.get("name", "")))  # type: ignore[method-assign]
        self.parts: Any = SimpleNamespace(
            images=ImageStore(self.store, Records(database, "images", ImageRecord)),
            store=self.store,
            snapshots=self.store.snapshots,
            workers=self.workers,
            roster=self.roster,
            events=events,
            spawn=self._spawn,
            clock=time.time_ns,
            sweeper=SimpleNamespace(later=lambda *_, **__: None),
        )
        self.images = Images(self.parts, options, Records(database, "blob_sources", BlobSources))

    def _spawn(self, story: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(story)
        self._stories.add(task)
        task.add_done_callback(self._stories.discard)

    async def tell(self, events: AsyncIterator[ProgressEvent]) -> list[ProgressEvent]:
        """All messages of an operation; one that ends by an error message fails."""
        messages = [event async for event in events]
        errors = [event.error for event in messages if event.error]
        assert not errors, errors
        return messages

    def leftovers(self) -> list[str]:
        """Directories of layers that were begun and neither finished nor removed."""
        return [path.name for path in (self.root / "snapshots").iterdir() if path.name.startswith("new-")]


@asynccontextmanager
async def library(root: Path, options: RegistryOptions = RegistryOptions()) -> AsyncIterator[Library]:  # noqa: B008
    made = Library(root, options)
    try:
        yield made
    finally:
        await made.workers.close()
