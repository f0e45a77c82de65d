"""A token of SoftHSM with the key of a client certificate."""

import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from brokers import missing
from presenced.settings.pkcs11 import Pkcs11Settings
from presenced.sources.mqtt.connection_options import TlsFiles

PIN = "pin-27182818"
_LIBRARIES = ("usr/lib/softhsm/libsofthsm2.so", "usr/lib/*/softhsm/libsofthsm2.so")


@dataclass
class Token:
    """Tokens in a directory, which a process finds by the environment variable SOFTHSM2_CONF.

    `pin_file` holds the PIN of all.
    """

    directory: Path
    library: Path
    pin_file: Path

    def create(self, label: str) -> None:
        """Add an empty token."""
        self._run("--init-token", "--free", "--label", label, "--so-pin", "so-pin", "--pin", PIN)

    def add(self, token: str, label: str, key: Path) -> None:
        """Move a private key into a token."""
        pkcs8 = self.directory / f"{label}.p8"
        convert = ["openssl", "pkcs8", "-topk8", "-nocrypt", "-in", str(key), "-out", str(pkcs8)]
        subprocess.run(convert, check=True, capture_output=True)
        number = f"{len(list(self.directory.glob('*.p8'))):02}"
        where = ("--token", token, "--label", label, "--id", number, "--pin", PIN)
        self._run("--import", str(pkcs8), *where)

    def section(self, **keys: Any) -> dict[str, str]:
        """The section `mqtt.tls.pkcs11` for the first key."""
        section = {"library": self.library, "token": "presenced", "key": "client"}
        section |= {"pin_file": self.pin_file} | keys
        return {name: str(value) for name, value in section.items() if value is not None}

    def files(self, files: TlsFiles, **keys: Any) -> TlsFiles:
        """Files with the key in the token instead of the file."""
        return replace(files, key=None, pkcs11=Pkcs11Settings.model_validate(self.section(**keys)))

    def _run(self, *arguments: str) -> None:
        subprocess.run(["softhsm2-util", *arguments], check=True, capture_output=True)


def make_token(directory: Path) -> Token:
    """Return a token `presenced` that this process uses; skips the test without SoftHSM."""
    found = [file for glob in _LIBRARIES for file in Path("/").glob(glob)]
    if not found or not shutil.which("softhsm2-util"):
        missing("softhsm2-util is not installed: apt-get install softhsm2")
    (directory / "tokens").mkdir(parents=True)
    config = directory / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {directory}/tokens\nobjectstore.backend = file\n")
    os.environ["SOFTHSM2_CONF"] = str(config)
    pin_file = directory / "pin"
    pin_file.write_text(f"{PIN}\n")
    token = Token(directory, found[0], pin_file)
    token.create("presenced")
    return token
