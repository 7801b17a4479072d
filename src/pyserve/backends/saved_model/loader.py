"""Loads one version of a SavedModel: reads its proto, opens a session, decides what each signature is.

A version with several devices is loaded once for each of them.

Called by the life cycle on a loading thread. Every failure is one failed attempt with the code and text of
TensorFlow Serving; loads of different versions may run at the same time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from pyserve.backends.saved_model import garbage, meta_graph, runtime
from pyserve.backends.saved_model.failures import to_serving_error
from pyserve.backends.saved_model.replicas import ReplicatedServable
from pyserve.backends.saved_model.servable import SavedModelServable
from pyserve.backends.saved_model.session import GraphSession, device_names, open_session
from pyserve.backends.saved_model.traits import GraphIndex, Traits
from pyserve.backends.saved_model.version_config import options_of_version
from pyserve.codec.signature_def import signature_from_proto
from pyserve.config import TensorFlowOptions
from pyserve.dtypes import BY_NUMBER
from pyserve.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    ServingError,
    UnimplementedError,
)
from pyserve.protos import tf, tfs
from pyserve.servable import Servable, Signature, TensorSpec

_log = logging.getLogger(__name__)

_REFERENCE = 100
"""A reference type's number is that of its value type plus this."""


class SavedModelLoader:
    """Loads the SavedModel in one version directory. Making one does no work.

    Args:
        path: The version directory.
        options: Tags of the MetaGraph and thread counts.
        devices: Where it runs, e.g. `GPU:0`: a replica on each of several. None: where TensorFlow puts it.
    """

    def __init__(self, path: str, options: TensorFlowOptions, devices: Sequence[str] = ()) -> None:
        self._path = Path(path)
        self._options = options
        self._devices = devices

    def load(self) -> Servable:
        """A servable for the MetaGraph with exactly the configured tags; may be called again after a failure.

        Raises:
            NotFoundError: No SavedModel, no MetaGraph with the tags, or TensorFlow misses an op or a file.
            UnimplementedError: A SessionBundle.
            DataLossError: A file is damaged.
            FailedPreconditionError: TensorFlow is not installed.
            InvalidArgumentError: There is no such device.
            ServingError: Whatever else TensorFlow says.
        """
        chosen = self._meta_graph()
        runtime.tensorflow()
        try:
            with garbage.paused():
                if self._devices:
                    refuse_unknown_devices(self._devices, device_names(self._options))
                if len(self._devices) <= 1:
                    return self._load(chosen, *self._devices)
                del chosen
                return self._load_replicas()
        except Exception as error:
            raise to_serving_error(error) from error
        finally:
            garbage.collect_after_loads()

    def _meta_graph(self) -> tf.MetaGraphDef:
        return meta_graph.select(meta_graph.read_saved_model(self._path), self._options.saved_model_tags)

    def _load_replicas(self) -> Servable:
        """The version on each device, one after the other; on all of them or on none."""
        with ExitStack() as loaded:
            replicas = []
            for device in self._devices:
                # Read anew: loading has emptied the graph, and two of a large one are too much.
                replica = self._load(self._meta_graph(), device)
                loaded.callback(replica.unload)
                replicas.append(replica)
            loaded.pop_all()
        if stateful := replicas[0].stateful:
            _log.warning(
                "%s: what signatures %s keep between requests, each of the %d replicas keeps for itself",
                self._path,
                ", ".join(sorted(stateful)),
                len(replicas),
            )
        return ReplicatedServable(replicas)

    def _load(self, chosen: tf.MetaGraphDef, device: str = "") -> SavedModelServable:
        signatures: dict[str, Signature] = {}
        refusals: dict[str, ServingError] = {}
        for key, proto in chosen.signature_def.items():
            try:
                signatures[key] = signature_from_proto(key, proto)
                refuse_unservable(key, proto)
            except ServingError as error:
                refusals[key] = error
                signatures.setdefault(key, _without_defaults(key, proto))
        traits = _traits(chosen, signatures, refusals)
        session = open_session(chosen, self._path, options_of_version(self._path, self._options), device)
        for key in traits:
            missing = _missing_tensor(session, signatures[key])
            if missing is not None:
                refusals[key] = FailedPreconditionError(
                    f'Signature "{key}" cannot be served: its tensor {missing} is not in the graph'
                )
            else:
                signatures[key] = _with_types_of_graph(session, signatures[key])
        for key, refusal in sorted(refusals.items()):
            if key != meta_graph.INIT_OP_KEY:
                _log.warning("%s: %s", self._path, refusal.message, extra={"signature": key})
        return SavedModelServable(session, signatures, signature_def_map(chosen), traits, refusals)


def refuse_unknown_devices(wanted: Sequence[str], known: Sequence[str]) -> None:
    """Raise which devices are not there, and which are; return if all are there.

    Raises:
        InvalidArgumentError: There is no such device.
    """
    unknown = [device for device in wanted if device not in known]
    if unknown:
        raise InvalidArgumentError(
            f"device_map: there is no {' and no '.join(unknown)}; TensorFlow's devices are {', '.join(known)}"
        )


def refuse_unservable(key: str, proto: tf.SignatureDef) -> None:
    """Raise why a declared signature cannot be fed and fetched as dense arrays; return if it can.

    Raises:
        UnimplementedError: It has a sparse, ragged or otherwise composed tensor, or one without data.
    """
    for role, infos in (("input", proto.inputs), ("output", proto.outputs)):
        for alias, info in sorted(infos.items()):
            encoding = info.WhichOneof("encoding")
            number = info.dtype - _REFERENCE if info.dtype > _REFERENCE else info.dtype
            dtype = BY_NUMBER.get(number)
            if encoding == "coo_sparse":
                problem = "is a sparse tensor"
            elif encoding == "composite_tensor":
                problem = "is a composite tensor"
            elif not info.dtype:
                problem = "is an operation without a value"
            elif dtype is None or dtype.numpy is None:
                name = dtype.name if dtype is not None else f"enum {number}"
                problem = f"has the type {name}, which has no form on the wire"
            else:
                continue
            raise UnimplementedError(f'Signature "{key}" cannot be served: {role} "{alias}" {problem}')


def signature_def_map(chosen: tf.MetaGraphDef) -> bytes:
    """A serialized SignatureDefMap with every signature of the MetaGraph, whole."""
    message = tfs.SignatureDefMap()
    for key, proto in chosen.signature_def.items():
        message.signature_def[key].CopyFrom(proto)
    return message.SerializeToString(deterministic=True)


def _without_defaults(key: str, proto: tf.SignatureDef) -> Signature:
    plain = tf.SignatureDef()
    plain.CopyFrom(proto)
    plain.ClearField("defaults")
    return signature_from_proto(key, plain)


def _traits(
    chosen: tf.MetaGraphDef, signatures: Mapping[str, Signature], refusals: Mapping[str, ServingError]
) -> dict[str, Traits]:
    index = GraphIndex(chosen.graph_def, runtime.is_stateful)
    return {
        key: index.traits(
            [spec.tensor_name for spec in signature.inputs.values()],
            [spec.tensor_name for spec in signature.outputs.values()],
        )
        for key, signature in signatures.items()
        if key not in refusals
    }


def _with_types_of_graph(session: GraphSession, signature: Signature) -> Signature:
    """The signature with the element types that its tensors have in the graph.

    A SignatureDef may declare others, and TensorFlow Serving feeds by the graph: one of its own sample models
    regresses serialized Examples by an input that is declared to be a float.
    """

    def corrected(specs: Mapping[str, TensorSpec]) -> Mapping[str, TensorSpec]:
        types = {alias: BY_NUMBER[session.element_type(spec.tensor_name)] for alias, spec in specs.items()}
        return MappingProxyType({alias: replace(spec, dtype=types[alias]) for alias, spec in specs.items()})

    return replace(signature, inputs=corrected(signature.inputs), outputs=corrected(signature.outputs))


def _missing_tensor(session: GraphSession, signature: Signature) -> str | None:
    for spec in (*signature.inputs.values(), *signature.outputs.values()):
        try:
            session.element_type(spec.tensor_name)
        except (KeyError, ValueError, TypeError):
            return f'"{spec.tensor_name}"'
    return None
