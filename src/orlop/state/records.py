"""A set of documents of one type, by key. The owner keeps them in memory and writes each change through."""

from typing import Generic, TypeVar, cast

from orlop.state.database import Database
from orlop.state.documents import decode, encode

T = TypeVar("T")


class Records(Generic[T]):
    """The records of one noun. Synchronous: a write takes some 50 µs, for nothing waits for the disk."""

    def __init__(self, database: Database, noun: str, kind: type[T]) -> None:
        self._database = database
        self._noun = noun
        self._kind = kind

    def load(self) -> dict[str, T]:
        """Every record by its key. Raises Corrupt."""
        rows = self._database.query("SELECT key, document FROM records WHERE noun = ?", (self._noun,))
        return {str(key): decode(cast(bytes, document), self._kind) for key, document in rows}

    def save(self, key: str, value: T, *, can_wait: bool = False) -> None:
        """Write one record, new or changed. Raises Unavailable (disk full).

        With `can_wait` it never does: the record tells what has happened already, and is written once there is room.
        """
        self._database.execute(
            "INSERT INTO records VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET document = excluded.document",
            (self._noun, key, encode(value)),
            about=f"{self._noun} {key}",
            can_wait=can_wait,
        )

    def delete(self, key: str) -> None:
        """Forget one record; it may be absent. On a disk that is full too: else nothing could be removed."""
        statement = "DELETE FROM records WHERE noun = ? AND key = ?"
        self._database.execute(statement, (self._noun, key), about=f"{self._noun} {key}", can_wait=True)
