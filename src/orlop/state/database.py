"""The SQLite file that outlives the daemon. One writer: the daemon's loop. WAL NORMAL: a crash of the daemon loses nothing,
a power cut may lose the last moments, never the order. facts.md, section 7.
"""

import logging
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from orlop.spec.errors import Corrupt, Unavailable
from orlop.state.migrations import MIGRATIONS

log = logging.getLogger(__name__)

RESERVE_BYTES = 512 << 10  # free pages of the file, and room in its log: what can still be written on a disk that is full
CHECKPOINT_PAGES = 16_000  # SQLite checkpoints by itself (and waits for the disk) only past 64 MB of log


class Database:
    """An open database. Every statement is a transaction of its own."""

    def __init__(self, path: str | Path) -> None:
        """Open or make the file and bring its schema up to date. Raises Corrupt, or Unavailable (disk full, no right)."""
        self._path = str(path)
        try:
            self._connection = _connect(self._path)
            _migrate(self._connection, self._path)
            _reserve(self._connection)
        except sqlite3.OperationalError as error:
            raise Unavailable(f"cannot open {path}: {_reason(error)}") from error
        except sqlite3.DatabaseError as error:
            raise Corrupt(f"cannot open {path}: {error}") from error
        self._changes_kept = self._connection.total_changes
        self._late: dict[str, tuple[str, tuple[object, ...]]] = {}

    def execute(self, statement: str, parameters: Iterable[object] = (), *, about: str = "", can_wait: bool = False) -> None:
        """Run one statement. Raises Unavailable (disk full).

        One that `can_wait` never raises: if it cannot be written now it is, by `catch_up`, once there is room; of several
        `about` the same thing the last one counts.
        """
        values = tuple(parameters)
        try:
            self._connection.execute(statement, values)
            self._late.pop(about, None)
        except sqlite3.OperationalError as error:
            message = f"cannot write {self._path}: {_reason(error)}"
            if not can_wait:
                raise Unavailable(message) from error
            if not self._late:
                log.warning("%s: what happens is written down later", message)
            self._late[about] = statement, values

    def catch_up(self) -> None:
        """Write what had to wait, as far as there is room."""
        for about, (statement, values) in list(self._late.items()):
            self.execute(statement, values, about=about, can_wait=True)
            if about in self._late:
                return

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
        """Move the log into the file and sync it. It waits for the disk on a connection of its own: call it in a thread.

        Raises Unavailable (disk full); then the log is kept.
        """
        try:
            connection = _connect(self._path)
            try:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            finally:
                connection.close()
        except sqlite3.OperationalError as error:
            raise Unavailable(f"cannot write {self._path}: {_reason(error)}") from error

    def close(self) -> None:
        """Write what still waits, if there is room, and let go."""
        self.catch_up()
        self._connection.close()


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=5)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    return connection


def _reserve(connection: sqlite3.Connection) -> None:
    """Have some free pages in the file, and as much room in its log."""
    ((free_pages,), (page_bytes,)) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("freelist_count", "page_size")
    )
    if free_pages * page_bytes < RESERVE_BYTES // 2:
        connection.execute("INSERT INTO records VALUES ('reserve', '', zeroblob(?))", (RESERVE_BYTES,))
        connection.execute("DELETE FROM records WHERE noun = 'reserve'")
        connection.execute("PRAGMA wal_checkpoint(FULL)")  # only now the file itself has the pages


def _reason(error: sqlite3.OperationalError) -> str:
    return "no space left on device" if error.sqlite_errorcode == sqlite3.SQLITE_FULL else str(error)


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
