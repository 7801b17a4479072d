"""A short run of the fuzzing campaign; `python fuzz/h2.py` is the long one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

SECONDS = 8.0


def fuzzer() -> Any:
    path = Path(__file__).parents[4] / "fuzz" / "h2.py"
    spec = importlib.util.spec_from_file_location("fuzz_h2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_nothing_leaves_the_core() -> None:
    """Random frames and mutated sessions: no exception, bounded memory, and a good connection served beside them."""
    seen = fuzzer().campaign(SECONDS, seed=1)
    assert seen["sessions"] > 100
    assert seen["requests"] > 100
