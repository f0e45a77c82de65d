"""TLS contexts of awscrt with a client key in hardware, reached by a PKCS#11 library."""

import hashlib
import re
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from awscrt import io
from awscrt.exceptions import AwsCrtError

from presenced.settings.files import FileSnapshot
from presenced.settings.pkcs11 import PKCS11, Pkcs11Settings, pkcs11_problems, read_pin
from presenced.settings.problems import Problem, SettingsError

HARDWARE_KEY_REMEDY = (
    "Check that the key in the token belongs to mqtt.tls.cert, and that the server accepts this"
    " certificate. awscrt uses a key in hardware with TLS 1.2 only"
)
"""What to check if a TLS connection with a key in hardware fails."""

_NAME = re.compile(r"AWS_[A-Z0-9_]+")


class _Meaning(NamedTuple):
    """What an error is about: a key of the settings, what is wrong with it, what to do.

    `unset` is what is wrong if the key is null. `{tool}` in a remedy is the start of a command.
    """

    key: Literal["library", "token", "key", "pin_file"]
    message: str
    remedy: str
    unset: str = ""


_INSTALL = "Install the PKCS#11 library of the hardware for the architecture of this machine"
_WRONG_PIN = _Meaning(
    "pin_file",
    "holds a PIN that the token refuses; it is not tried again, as tokens lock themselves",
    "Correct the file; if the PIN of the token was changed to this one, restart presenced",
)
_NO_PIN = _Meaning(
    "pin_file",
    "",
    "Set it to a file with the PIN",
    unset="is not set, and the token does not allow a login without it",
)
_MEANINGS = {
    "AWS_ERROR_PKCS11_CKR_PIN_INCORRECT": _WRONG_PIN,
    "AWS_ERROR_PKCS11_CKR_PIN_INVALID": _WRONG_PIN,
    "AWS_ERROR_PKCS11_CKR_PIN_LEN_RANGE": _WRONG_PIN,
    "AWS_ERROR_PKCS11_CKR_PIN_LOCKED": _Meaning(
        "pin_file",
        "is of no use, as the token has locked itself after too many wrong PINs",
        "Unlock it with the PIN of its security officer",
    ),
    "AWS_IO_SHARED_LIBRARY_LOAD_FAILURE": _Meaning("library", "cannot be loaded", _INSTALL),
    "AWS_IO_SHARED_LIBRARY_FIND_SYMBOL_FAILURE": _Meaning(
        "library", "cannot be used: it is no PKCS#11 library", _INSTALL
    ),
    "AWS_ERROR_PKCS11_VERSION_UNSUPPORTED": _Meaning(
        "library",
        "is of another version of PKCS#11 than awscrt uses",
        "Install a library of a version from 2.20 to 2.40",
    ),
    "AWS_ERROR_PKCS11_TOKEN_NOT_FOUND": _Meaning(
        "token",
        "is the label of no token, or of several",
        "`{tool} --list-token-slots` lists them; run it as the user that presenced runs as",
        unset="is not set, and there is no token, or more than one",
    ),
    "AWS_ERROR_PKCS11_KEY_NOT_FOUND": _Meaning(
        "key",
        "is the label of no private key in the token, or of several",
        "`{tool} --login --list-objects --type privkey` lists them",
        unset="is not set, and the token has no private key, or several",
    ),
}
# One at a time: connections start together, and tokens count wrong PINs.
_lock = threading.Lock()
# A digest of the PIN that a token has refused, by its library and label.
_refused: dict[tuple[Path | None, str | None], bytes] = {}


def load_hardware_key(
    pkcs11: Pkcs11Settings,
    cert: bytes,
    snapshot: FileSnapshot,
    context: Callable[[Any], Any],
) -> Any:
    """Log in to the token, find the key, and return the context that `context` makes of both.

    Blocks. Raises SettingsError, which says what is wrong with the library, token, key or PIN.
    """
    if problems := pkcs11_problems(pkcs11, snapshot):
        raise SettingsError(problems)
    pin = read_pin(pkcs11, snapshot)
    token, digest = (pkcs11.library, pkcs11.token), hashlib.sha256((pin or "").encode()).digest()
    with _lock:
        if pin is not None and _refused.get(token) == digest:
            raise SettingsError([_explained(_WRONG_PIN, pkcs11)])
        # The library's annotations do not say that None is allowed.
        labels: Any = {"token_label": pkcs11.token, "private_key_label": pkcs11.key}
        try:
            options = io.TlsContextOptions.create_client_with_mtls_pkcs11(
                pkcs11_lib=_library(str(pkcs11.library)),
                user_pin=pin,
                **labels,
                cert_file_contents=cert,
            )
            return context(options)
        except (RuntimeError, AwsCrtError) as error:
            found = _NAME.search(str(getattr(error, "name", error)))
            name = found[0] if found else type(error).__name__
            if _MEANINGS.get(name) is _WRONG_PIN:
                _refused[token] = digest
            raise SettingsError([_problem(name, pkcs11)]) from None


@cache
def _library(path: str) -> Any:
    """Return the loaded library; one instance serves the process."""
    return io.Pkcs11Lib(file=path)


def _problem(name: str, pkcs11: Pkcs11Settings) -> Problem:
    """Return what an error of the runtime means."""
    meaning = _MEANINGS.get(name)
    if meaning is None and pkcs11.pin_file is None:
        meaning = _NO_PIN
    if meaning is None:
        return Problem(
            key=PKCS11,
            message=f"the key cannot be used ({name})",
            remedy="Check the token and its driver; it has to be an RSA or EC key that may sign",
            kind="unreadable",
        )
    return _explained(meaning, pkcs11)


def _explained(meaning: _Meaning, pkcs11: Pkcs11Settings) -> Problem:
    value = getattr(pkcs11, meaning.key)
    return Problem(
        key=f"{PKCS11}.{meaning.key}",
        value=str(value) if value is not None else None,
        message=meaning.message if value is not None else meaning.unset,
        remedy=meaning.remedy.format(tool=f"pkcs11-tool --module {pkcs11.library}"),
        kind="unreadable",
    )
