"""How the schema grew: the n-th entry brings a database from version n-1 to n. Entries are only ever appended.

Documents need no migration for a new field with a default: `documents.decode` fills it in.
"""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    ("CREATE TABLE records (noun TEXT, key TEXT, document BLOB NOT NULL, PRIMARY KEY (noun, key)) WITHOUT ROWID",),
)
