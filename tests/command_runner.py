"""Run documented commands with directories and ports of a test."""

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

from brokers import free_port, missing

PROGRAMS = Path(sys.executable).parent


class CommandRunner:
    """Runs commands unchanged except for directories and ports.

    `environ` overrides variables of the environment of the commands.
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
        """Make a directory with an `aws` that prints an endpoint on this machine."""
        program = directory / "bin" / "aws"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\necho localhost\n")
        program.chmod(0o755)
        return program.parent

    def adapted(self, text: str) -> str:
        """Return the text with the paths and ports of the test."""
        places = {
            "/etc/presenced": str(self.etc),
            "/var/lib/presenced": str(self.lib),
            "/opt/presenced/bin": str(PROGRAMS),
            "localhost:9883": f"localhost:{self.port}",
            "localhost:9884": f"localhost:{self.health_port}",
            "127.0.0.1:9884": f"127.0.0.1:{self.health_port}",
        }
        text = re.sub("|".join(map(re.escape, places)), lambda found: places[found[0]], text)
        # The documentation omits --config where it is the default.
        named = rf"presenced \1 --config {self.etc}/presenced.yaml"
        return re.sub(r"presenced (run|check|reload)\b(?! --config)", named, text)

    async def run(self, script: str, *, answer: str = "") -> str:
        """Run a script, which must succeed, and return its output; `answer` is its input."""
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", self.adapted(script)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environ,
            cwd=self.etc,
            # Without a terminal, programs read passwords from standard input.
            start_new_session=True,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate(answer.encode())
        assert process.returncode == 0, f"{script}\n{out.decode()}\n{err.decode()}"
        return out.decode()


def need(*programs: str) -> None:
    """Skip the test if a program is missing, with the command that installs it."""
    for program in programs:
        if shutil.which(program) is None:
            missing(f"{program} is not installed: apt-get install {program}")
