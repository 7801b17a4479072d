"""Real TensorFlow for the SavedModel backend: models are exported, loaded and unloaded here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pyserve.backends.saved_model import SavedModelLoader, SavedModelServable
from pyserve.config import TensorFlowOptions
from pyserve.protos import tf as protos

Load = Callable[..., SavedModelServable]
Edit = Callable[[protos.MetaGraphDef], object]


@pytest.fixture(scope="session")
def tf() -> Any:
    """The module `tensorflow`; its import is allowed to warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pyserve.backends.saved_model import runtime

        return runtime.tensorflow()


@pytest.fixture
def load(tf: Any) -> Iterator[Load]:
    """Loads a version directory as a server would."""
    del tf
    loaded: list[SavedModelServable] = []

    def load(path: Path, *tags: str) -> SavedModelServable:
        options = TensorFlowOptions(saved_model_tags=frozenset(tags)) if tags else TensorFlowOptions()
        servable = SavedModelLoader(str(path), options).load()
        assert isinstance(servable, SavedModelServable)
        loaded.append(servable)
        return servable

    yield load
    for servable in loaded:
        servable.unload()


@pytest.fixture
def export(tf: Any, tmp_path: Path) -> Callable[..., Path]:
    """Saves functions with input signatures as a TensorFlow 2 SavedModel; `edit` may change its MetaGraph."""

    def export(
        signatures: Mapping[str, Any] | Any, edit: Edit | None = None, variables: Sequence[Any] = ()
    ) -> Path:
        path = tmp_path / "exported"
        if not isinstance(signatures, Mapping):
            signatures = {"serving_default": signatures}
        module = tf.Module()
        module.functions = list(signatures.values())
        module.variables_used = variables
        tf.saved_model.save(module, str(path), signatures=dict(signatures))
        if edit is not None:
            change(path, edit)
        return path

    return export


@pytest.fixture
def build(tf: Any, tmp_path: Path) -> Callable[..., Path]:
    """Saves a TensorFlow 1 graph: `make(session)` returns {signature: (inputs, outputs)}."""

    def build(make: Callable[[Any], Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]]) -> Path:
        path = tmp_path / "built"
        v1 = tf.compat.v1
        graph = v1.Graph()
        with graph.as_default(), v1.Session(graph=graph) as session:
            made = make(session)
            session.run(v1.global_variables_initializer())
            info = v1.saved_model.build_tensor_info
            builder = v1.saved_model.Builder(str(path))
            builder.add_meta_graph_and_variables(
                session,
                ["serve"],
                signature_def_map={
                    key: v1.saved_model.build_signature_def(
                        {alias: info(tensor) for alias, tensor in inputs.items()},
                        {alias: info(tensor) for alias, tensor in outputs.items()},
                        "tensorflow/serving/predict",
                    )
                    for key, (inputs, outputs) in made.items()
                },
            )
            builder.save()
        return path

    return build


def change(path: Path, edit: Edit) -> None:
    """Edit the MetaGraph of a saved version in place."""
    file = path / "saved_model.pb"
    proto = protos.SavedModel.FromString(file.read_bytes())
    edit(proto.meta_graphs[0])
    file.write_bytes(proto.SerializeToString())
