"""What must outlive the process, in an SQLite file.

`StateFile` is the file, `Changes` what is to be written into it, `Writer` the thread that does.
Rows are plain tuples; what they mean is known to whoever turns them into clients and things.
"""

from presenced.store.changes import Changes
from presenced.store.errors import (
    StateDamagedError,
    StateError,
    StateForeignError,
    StateLockedError,
    StateMissingError,
    StateNewerError,
    StateUnusableError,
)
from presenced.store.file import StateFile, default_path
from presenced.store.schema import (
    ClientRow,
    CounterRow,
    ForgetRow,
    MetaRow,
    ThingGroupRow,
    ThingRow,
    ThingTypeRow,
)
from presenced.store.writer import CommitFailure, Writer, WriterCounts, WriterListener

__all__ = [
    "Changes",
    "ClientRow",
    "CommitFailure",
    "CounterRow",
    "ForgetRow",
    "MetaRow",
    "StateDamagedError",
    "StateError",
    "StateFile",
    "StateForeignError",
    "StateLockedError",
    "StateMissingError",
    "StateNewerError",
    "StateUnusableError",
    "ThingGroupRow",
    "ThingRow",
    "ThingTypeRow",
    "Writer",
    "WriterCounts",
    "WriterListener",
    "default_path",
]
