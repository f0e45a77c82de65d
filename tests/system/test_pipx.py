"""From nothing to the first metrics with pipx: the wheel in an environment of its own."""

import os
import shutil
import subprocess
import urllib.request
from pathlib import Path

from brokers import free_port, missing
from debian import call, release_python
from installations import copy_clone
from waiting import wait_for


def test_pipx_installs_the_wheel_and_the_demo_runs(tmp_path: Path) -> None:
    clone = copy_clone(tmp_path / "clone")
    call(
        *(release_python(), "-m", "build", "--no-isolation", "--wheel"),
        *("--outdir", str(tmp_path), str(clone)),
    )
    (wheel,) = tmp_path.glob("*.whl")
    home, commands = tmp_path / "pipx", tmp_path / "bin"
    environment = {**os.environ, "PIPX_HOME": str(home), "PIPX_BIN_DIR": str(commands)}
    # The Python of the distribution, which is what pipx of its package would use.
    python = shutil.which("python3", path="/usr/bin") or missing("there is no /usr/bin/python3")
    words = ("-m", "pipx", "install", f"--python={python}", f"{wheel}[demo]")
    call(release_python(), *words, env=environment)
    port = free_port()
    demo = subprocess.Popen(
        [commands / "presenced", "demo", "--listen", f"127.0.0.1:{port}"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: 'iot_clients{state="online"}' in metrics(port), 60, what="metrics")
    finally:
        demo.terminate()
        errors = demo.communicate(timeout=30)[1]
    assert demo.returncode == 0, errors


def metrics(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
            return page.read().decode()
    except OSError:
        return ""
