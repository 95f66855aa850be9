"""The trained half in Keras: tests/keras_checks.py on each backend that is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import inputlayer as il
from inputlayer.columns import KINDS
from inputlayer.errors import MissingExtraError

PACKAGES = {"torch": "torch", "jax": "jax", "tensorflow": "tensorflow"}
CHECKS = Path(__file__).with_name("keras_checks.py")


def run(*command: str, backend: str) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, env=given)


@pytest.mark.parametrize("backend", PACKAGES)
def test_backend(backend: str) -> None:
    absent = [name for name in ("keras", PACKAGES[backend]) if find_spec(name) is None]
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")
    # The warnings of other packages are theirs.
    done = run("-m", "pytest", "-q", "-W", "default", "-p", "no:cacheprovider", str(CHECKS), backend=backend)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout)
    assert "skipped" not in done.stdout


def test_without_keras_the_extra_is_named() -> None:
    code = "import sys; sys.modules['keras'] = None\nimport inputlayer as il\nil.keras.InputLayer"
    done = run("-c", code, backend="torch")
    assert MissingExtraError.__name__ in done.stderr
    assert "pip install 'inputlayer[keras]'" in done.stderr


@pytest.mark.skipif(find_spec("keras") is None, reason="not installed: keras")
def test_without_its_backend_another_is_named() -> None:
    code = "import sys; sys.modules['tensorflow'] = None\nimport inputlayer as il\nil.keras.InputLayer"
    done = run("-c", code, backend="tensorflow")
    assert "KERAS_BACKEND to 'torch'" in done.stderr


def test_every_kind_is_listed_with_a_half_or_without() -> None:
    doc = il.keras.__doc__ or ""
    listed = [re.search(line, doc) for line in (r"with a Keras half: (.*)\.", r"refused: ([\w, ]*)\.")]
    named = [name for found in listed if found for name in found[1].split(", ")]
    assert sorted(named) == sorted(KINDS)


def test_other_names_are_unknown() -> None:
    with pytest.raises(AttributeError, match="no attribute 'LSTM'"):
        il.keras.LSTM  # noqa: B018
    assert "InputLayer" in dir(il.keras)
