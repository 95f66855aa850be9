from __future__ import annotations

import os
import sys
from pathlib import Path

import hypothesis
import pytest
import torch

# Sums in torch depend on the number of threads: fixed, so that a test gives the same bytes on every machine. One,
# because the tests run in several processes, and threads that wait for each other would take the cores from the others.
torch.set_num_threads(1)

# It chooses Keras's backend for its whole process, so it runs only where it is asked for: by tests/test_keras.py.
collect_ignore = [] if any("keras_checks" in argument for argument in sys.argv) else ["keras_checks.py"]

# A deadline would fail on a busy machine. In CI the examples are the same each time, so that a failure is the change's.
hypothesis.settings.register_profile("project", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("project")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data, which is no part of the project. Where it is absent, its tests are skipped."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("INPUTLAYER_DATA", default))
    if not folder.is_dir():
        pytest.skip("the folder of real data is absent: set INPUTLAYER_DATA to where it is")
    return folder
