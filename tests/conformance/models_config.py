"""Writes the --model_config_file with which any server answers the conformance suite.

    python tests/conformance/models_config.py OUT [--root /models]

Without --root the base paths are those of this checkout, and of the directory that PYSERVE_TFS_TESTDATA names. With it
they are ROOT/examples/<model> and ROOT/tfs/<model>, for a server that sees the files elsewhere, as in a container.
Without PYSERVE_TFS_TESTDATA the sample models are left out, as the suite leaves out their tests.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from served_models import served_models_config


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the model config file of the conformance suite.")
    parser.add_argument("out", type=Path, help="the file to write")
    parser.add_argument("--root", type=PurePosixPath, help="where the server sees examples/ and tfs/")
    arguments = parser.parse_args()
    arguments.out.write_text(served_models_config(arguments.root))


if __name__ == "__main__":
    main()
