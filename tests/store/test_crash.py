"""Acknowledged rows survive a kill of the process in the middle of commits."""

import random
import subprocess
import sys
from pathlib import Path

from presenced.store.file import StateFile
from presenced.store.schema import CounterRow
from statefiles import clients_in

WRITE = """
import asyncio, sys
from pathlib import Path
from writer_runs import Run
from presenced.store.changes import Changes
from statefiles import of_clients, client_row

async def main(path, number):
    it = Run(Path(path))
    print("open", flush=True)
    while True:
        number += 1
        changes = of_clients(*(client_row(f"d-{number}-{n}") for n in range(20)))
        changes.count("written", "{}", number)
        it.writer.submit(changes, lambda number=number: print(number, flush=True))
        await asyncio.sleep(0.001)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def test_every_acknowledged_row_outlives_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "presenced.db"
    chosen = random.Random(5)
    last = 0
    for _ in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", WRITE, str(path), str(last)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            for _ in range(chosen.randrange(1, 150)):
                process.stdout.readline()
            process.kill()
            # The last line may have been cut short.
            lines = process.stdout.read().splitlines(keepends=True)
        acknowledged = [int(line) for line in lines if line.endswith("\n")]
        file = StateFile.open(path)
        kept = clients_in(file)
        [counter] = file.read(CounterRow)
        file.close()
        written = int(counter.value)
        assert written >= max(acknowledged, default=last)
        # All or nothing, and nothing left out on the way.
        assert len(kept) == 20 * written
        assert all(f"d-{written}-{n}" in kept for n in range(20))
        last = written
    assert last > 8
