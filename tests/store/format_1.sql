-- The tables of format 1, as the first version of presenced made them.
CREATE TABLE clients (
    client_id TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('online', 'pending', 'offline', 'unknown')),
    since REAL,
    transition REAL,
    reason TEXT,
    thing_name TEXT,
    connected INTEGER NOT NULL,
    event_time INTEGER NOT NULL,
    version INTEGER,
    session TEXT,
    deadline REAL,
    gaps INTEGER NOT NULL,
    departed INTEGER NOT NULL,
    extra TEXT
) WITHOUT ROWID;
CREATE TABLE things (
    name TEXT NOT NULL PRIMARY KEY,
    thing_id TEXT,
    version INTEGER,
    event_time INTEGER,
    deleted INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    told_type TEXT,
    attributes TEXT,
    type_facts TEXT,
    memberships TEXT
) WITHOUT ROWID;
CREATE TABLE thing_groups (
    name TEXT NOT NULL PRIMARY KEY,
    group_id TEXT,
    version INTEGER,
    event_time INTEGER,
    deleted INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    told_parent TEXT,
    attributes TEXT,
    parent_facts TEXT
) WITHOUT ROWID;
CREATE TABLE thing_types (
    name TEXT NOT NULL PRIMARY KEY,
    type_id TEXT,
    version INTEGER,
    event_time INTEGER,
    deleted INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    deprecated INTEGER NOT NULL,
    searchable TEXT,
    propagating TEXT
) WITHOUT ROWID;
CREATE TABLE counters (
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (name, labels)
) WITHOUT ROWID;
CREATE TABLE counted_disconnects (number INTEGER PRIMARY KEY, digest INTEGER NOT NULL);
CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE forget_requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    client_id TEXT NOT NULL,
    requested REAL NOT NULL
);
