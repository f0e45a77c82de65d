from textwrap import dedent

import pytest

from presenced.settings import SettingsError, load_settings


class Loader:
    """Loads YAML text, with nothing from the process's own environment."""

    def __init__(self, directory):
        self.path = directory / "presenced.yaml"

    def __call__(self, text="", environ=None, **options):
        options.setdefault("require_endpoint", False)
        self.path.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
        return load_settings(self.path, environ=environ or {}, **options)

    def problems(self, text="", environ=None, **options):
        with pytest.raises(SettingsError) as caught:
            self(text, environ, **options)
        return caught.value.problems

    def problem(self, text="", environ=None, **options):
        (problem,) = self.problems(text, environ, **options)
        return problem


@pytest.fixture
def load(tmp_path):
    return Loader(tmp_path)
