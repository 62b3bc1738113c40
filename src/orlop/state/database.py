"""The SQLite file that outlives the daemon. One writer: the daemon's loop. WAL NORMAL: a crash of the daemon loses nothing,
a power cut may lose the last moments, never the order. facts.md, section 7.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from orlop.spec.errors import Corrupt, Unavailable
from orlop.state.migrations import MIGRATIONS

CHECKPOINT_PAGES = 16_000  # SQLite checkpoints by itself (and waits for the disk) only past 64 MB of log


class Database:
    """An open database. Every statement is a transaction of its own."""

    def __init__(self, path: str | Path) -> None:
        """Open or make the file and bring its schema up to date. Raises Corrupt, or Unavailable (disk full, no right)."""
        self._path = str(path)
        try:
            self._connection = _connect(self._path)
            _migrate(self._connection, self._path)
        except sqlite3.OperationalError as error:
            raise Unavailable(f"cannot open {path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise Corrupt(f"cannot open {path}: {error}") from error
        self._changes_kept = self._connection.total_changes

    def execute(self, statement: str, parameters: Iterable[object] = ()) -> None:
        """Run one statement. Raises Unavailable (disk full, locked)."""
        try:
            self._connection.execute(statement, tuple(parameters))
        except sqlite3.OperationalError as error:
            raise Unavailable(f"cannot write {self._path}: {error}") from error

    def query(self, statement: str, parameters: Iterable[object] = ()) -> list[tuple[object, ...]]:
        """All rows of one SELECT."""
        return self._connection.execute(statement, tuple(parameters)).fetchall()

    @property
    def is_dirty(self) -> bool:
        """Whether something was written since the last `checkpoint` began."""
        return self._connection.total_changes != self._changes_kept

    def mark_clean(self) -> None:
        """Say that a checkpoint begins now."""
        self._changes_kept = self._connection.total_changes

    def checkpoint(self) -> None:
        """Move the log into the file and sync it. It waits for the disk on a connection of its own: call it in a thread."""
        connection = _connect(self._path)
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            connection.close()

    def close(self) -> None:
        self._connection.close()


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=5)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    return connection


def _migrate(connection: sqlite3.Connection, path: str) -> None:
    """Run the migrations that this file has not seen; PRAGMA user_version counts those it has."""
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    if version > len(MIGRATIONS):
        raise Corrupt(f"cannot open {path}: it is of version {version}, this orlop knows up to {len(MIGRATIONS)}")
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={number}")
        connection.execute("COMMIT")
