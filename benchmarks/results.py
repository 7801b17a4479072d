"""Where the benchmarks leave their figures: a JSON file and a page with charts for each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

OUT = Path("out/benchmarks")


def write(directory: Path, name: str, document: dict[str, Any], page: str) -> None:
    """Write NAME.json and NAME.html into a directory, and say so."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    (directory / f"{name}.html").write_text(page, encoding="utf-8")
    print(f"written: {directory / name}.json, {directory / name}.html")
