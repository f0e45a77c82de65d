"""Somebody who copies commands from the documents."""

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

from brokers import free_port, missing

PROGRAMS = Path(sys.executable).parent


class Reader:
    """Runs commands as they stand, but for directories and ports of their own.

    `environ` is put over the environment that they run in.
    """

    def __init__(self, directory: Path, **environ: str) -> None:
        self.etc, self.lib = directory / "etc", directory / "lib"
        self.etc.mkdir()
        self.lib.mkdir()
        self.port, self.health_port = free_port(), free_port()
        self.environ = {
            **{name: value for name, value in os.environ.items() if "PRESENCED" not in name},
            "PATH": f"{self._aws(directory)}:{PROGRAMS}:{os.environ['PATH']}",
            "PRESENCED_METRICS__LISTEN": f"127.0.0.1:{self.port}",
            **environ,
        }

    @staticmethod
    def _aws(directory: Path) -> Path:
        """A directory with an `aws` that tells an endpoint on this machine."""
        program = directory / "bin" / "aws"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\necho localhost\n")
        program.chmod(0o755)
        return program.parent

    def adapted(self, text: str) -> str:
        """The same with this machine's paths and ports."""
        places = {
            "/etc/presenced": str(self.etc),
            "/var/lib/presenced": str(self.lib),
            "/opt/presenced/bin": str(PROGRAMS),
            "localhost:9883": f"localhost:{self.port}",
            "localhost:9884": f"localhost:{self.health_port}",
            "127.0.0.1:9884": f"127.0.0.1:{self.health_port}",
        }
        text = re.sub("|".join(map(re.escape, places)), lambda found: places[found[0]], text)
        # They leave out the configuration's name where it is the usual one.
        named = rf"presenced \1 --config {self.etc}/presenced.yaml"
        return re.sub(r"presenced (run|check)\b(?! --config)", named, text)

    async def run(self, script: str, *, answer: str = "") -> str:
        """What a script prints, which must succeed; `answer` is typed."""
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", self.adapted(script)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environ,
            cwd=self.etc,
            # Without a terminal passwords are asked for on standard input.
            start_new_session=True,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate(answer.encode())
        assert process.returncode == 0, f"{script}\n{out.decode()}\n{err.decode()}"
        return out.decode()


def need(*programs: str) -> None:
    """Skip the test where a program is not installed, and say how it would be."""
    for program in programs:
        if shutil.which(program) is None:
            missing(f"{program} is not installed: apt-get install {program}")
