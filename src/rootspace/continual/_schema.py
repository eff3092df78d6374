"""The tables of a class registry."""

SCHEMA = 1
"""Version of the tables, kept in `PRAGMA user_version`."""

# What must never be wrong is said to the database itself, so that no other program can break it:
# one table holds names and aliases, since neither may equal the other, and triggers keep vectors,
# classes and history as they are.
TABLES = (
    """
    CREATE TABLE changes (
        generation INTEGER PRIMARY KEY,
        at TEXT NOT NULL,
        action TEXT NOT NULL,
        label INTEGER,
        detail TEXT NOT NULL,
        command TEXT NOT NULL,
        source TEXT NOT NULL
    )
    """,
    "CREATE INDEX history ON changes (label) WHERE label IS NOT NULL",
    """
    CREATE TABLE classes (
        label INTEGER PRIMARY KEY,
        vector UNIQUE,
        images INTEGER NOT NULL CHECK (typeof(images) = 'integer' AND images >= 0),
        retired INTEGER NOT NULL CHECK (retired IN (0, 1)),
        added INTEGER NOT NULL REFERENCES changes
    )
    """,
    "CREATE INDEX retired ON classes (label) WHERE retired = 1",
    """
    CREATE TABLE names (
        name TEXT PRIMARY KEY,
        label INTEGER NOT NULL REFERENCES classes,
        alias INTEGER NOT NULL CHECK (alias IN (0, 1))
    ) WITHOUT ROWID
    """,
    "CREATE UNIQUE INDEX name_of ON names (label) WHERE alias = 0",
    "CREATE INDEX aliases_of ON names (label) WHERE alias = 1",
    "CREATE TABLE about (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
    """
    CREATE TRIGGER vectors_stay BEFORE UPDATE OF label, vector, added ON classes
    BEGIN SELECT RAISE(ABORT, 'a class keeps its label and vector'); END
    """,
    """
    CREATE TRIGGER classes_stay BEFORE DELETE ON classes
    BEGIN SELECT RAISE(ABORT, 'a class is retired, never deleted'); END
    """,
    """
    CREATE TRIGGER history_stays BEFORE UPDATE ON changes
    BEGIN SELECT RAISE(ABORT, 'history is not rewritten'); END
    """,
    """
    CREATE TRIGGER history_is_kept BEFORE DELETE ON changes
    BEGIN SELECT RAISE(ABORT, 'history is not deleted'); END
    """,
    f"PRAGMA user_version = {SCHEMA}",
)
