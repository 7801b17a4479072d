"""Which tensor of a batch each input and output of a task is, and which tasks may share a batch.

Tasks that feed the same tensors of a graph and fetch the same ones share a queue, whatever their signatures call them.
Where there is no graph, the signature and its names decide.

Source: TensorFlow Serving, batching/batching_session.cc (TensorSignature).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from pyserve.servable import OutputOf, RunsTensors, Servable, Signature, TensorSpec


@dataclass(frozen=True, slots=True)
class Layout:
    """How a kind of task lies in its batches.

    Attributes:
        key: Tasks of one version whose layouts have equal keys may share a batch.
        inputs: The name of a task's input for each column that is fed.
        outputs: For each of its outputs: its name, and the column that is fetched for it.
        signatures: What it runs.
        free: Whether every tensor is declared with a first dimension of any size.
    """

    key: Hashable
    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, int], ...]
    signatures: tuple[str, ...]
    free: bool


def of_signature(servable: Servable, key: str, outputs: Sequence[str]) -> Layout:
    """The layout of tasks that run one signature for these outputs."""
    signature = servable.signatures[key]
    fed = {alias: _tensor(spec) for alias, spec in signature.inputs.items()}
    fetched = {alias: _tensor(signature.outputs[alias]) for alias in outputs}
    shared: tuple[str, ...] = ()
    if not isinstance(servable, RunsTensors):  # then equal names mean nothing
        fed, fetched, shared = {alias: alias for alias in fed}, {alias: alias for alias in outputs}, (key,)
    columns = sorted(set(fetched.values()))
    return Layout(
        key=(shared, tuple(sorted(fed.values())), tuple(columns)),
        inputs=tuple(sorted(fed, key=fed.__getitem__)),
        outputs=tuple((alias, columns.index(tensor)) for alias, tensor in fetched.items()),
        signatures=(key,),
        free=_free(signature, outputs),
    )


def of_several(servable: Servable, wanted: Mapping[str, OutputOf], input_name: str) -> Layout:
    """The layout of tasks that run several signatures over one input array, which the task calls `input_name`."""
    columns = sorted(set(wanted.values()))
    keys = tuple(sorted({output.signature_key for output in columns}))
    return Layout(
        key=tuple(columns),
        inputs=(input_name,),
        outputs=tuple((name, columns.index(output)) for name, output in wanted.items()),
        signatures=keys,
        free=all(
            _free(
                servable.signatures[key], [output.alias for output in columns if output.signature_key == key]
            )
            for key in keys
        ),
    )


def _tensor(spec: TensorSpec) -> str:
    return spec.tensor_name if ":" in spec.tensor_name else f"{spec.tensor_name}:0"


def _free(signature: Signature, outputs: Sequence[str]) -> bool:
    specs = (*signature.inputs.values(), *(signature.outputs[alias] for alias in outputs))
    return all(spec.shape is None or spec.shape[:1] == (None,) for spec in specs)
