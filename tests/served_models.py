"""The models that the conformance suite asks for, and the configuration that serves them.

One list for both ways to run the suite: against a process that the fixture `server` starts, and against a server that
somebody else started with the file that `conformance/models_config.py` writes.
"""

from __future__ import annotations

from pathlib import PurePath

from servers import EXAMPLES, config_text, testdata

# Sample models of TensorFlow Serving that load; served as tfs_<directory>.
TFS_MODELS = (
    "saved_model_half_plus_two_cpu",
    "saved_model_half_plus_two_tf2_cpu",
    "saved_model_half_plus_two_2_versions",
    "saved_model_half_plus_three",
    "saved_model_counter",
)

# `gone` is a label of a version that does not exist. TensorFlow Serving starts with labels only under
# --allow_version_labels_for_unavailable_models.
EXTRA = {
    "half_plus_two": "model_version_policy { all {} } "
    'version_labels { key: "stable" value: 1 } version_labels { key: "gone" value: 77 }'
}


def served_models(root: PurePath | None = None) -> dict[str, PurePath]:
    """Name → base path of the example models, and of TensorFlow Serving's sample models where they are at hand.

    Args:
        root: Where the server sees them as `examples/<model>` and `tfs/<model>`; None for where they are here.
    """
    examples: PurePath = EXAMPLES if root is None else root / "examples"
    models = {path.name: examples / path.name for path in sorted(EXAMPLES.iterdir()) if (path / "1").is_dir()}
    if (directory := testdata()) is not None:
        samples = directory if root is None else root / "tfs"
        models |= {f"tfs_{name}": samples / name for name in TFS_MODELS}
    return models


def served_models_config(root: PurePath | None = None) -> str:
    """The text of their ModelServerConfig, which TensorFlow Serving reads too."""
    return config_text(served_models(root), EXTRA)
