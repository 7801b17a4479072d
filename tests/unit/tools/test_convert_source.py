"""What is taken of a source, and what is not."""

from __future__ import annotations

import shutil
from pathlib import Path

from pyserve.tools.convert.source import Source, stage

MODEL = Path(__file__).parents[3] / "examples" / "models" / "half_plus_two" / "1"


def test_code_beside_a_model_is_left_out(tmp_path: Path) -> None:
    """The model comes along; its handler, which is made for the signatures as they were, does not, and that is said."""
    version = Path(shutil.copytree(MODEL, tmp_path / "1"))
    for name, handler in (("plain", False), ("wrapped", True)):
        if handler:
            (version / "handler.py").write_text("signatures = {}")
        staging = tmp_path / name
        staging.mkdir()
        notes = stage(Source(version), staging)
        assert [note.split()[0] for note in notes] == (["handler.py"] if handler else [])
        assert sorted(path.name for path in staging.iterdir()) == ["saved_model.pb", "variables"]
