"""What a conversion changes in the signatures of a MetaGraph. Pure: a message in, another one out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyserve.backends.saved_model.meta_graph import INIT_OP_KEY
from pyserve.errors import InvalidArgumentError, NotFoundError
from pyserve.protos import tf
from pyserve.servable import DEFAULT_SIGNATURE


@dataclass(frozen=True, slots=True)
class Renaming:
    """A new name for an input or output.

    Attributes:
        signature: Where; empty: in every signature that has it.
        old, new: Aliases.
    """

    signature: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Edits:
    """What is to change, in this order.

    Attributes:
        keep: Signatures that stay; none: all.
        rename: New key by old key.
        inputs, outputs: Aliases that change; signatures are named as they are by now.
        tags: New tags; none: as they are.
    """

    keep: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[Renaming, ...] = ()
    outputs: tuple[Renaming, ...] = ()
    tags: tuple[str, ...] = ()


def edited(graph: tf.MetaGraphDef, edits: Edits) -> tf.MetaGraphDef:
    """The MetaGraph after the edits.

    What TensorFlow's Python keeps beside the signatures for `tf.saved_model.load`, the object graph, is left
    out: it holds the old names.

    Raises:
        NotFoundError: There is no signature or alias of a name.
        InvalidArgumentError: Two would have the same name.
    """
    made = without_object_graph(graph)
    signatures = dict(graph.signature_def)
    init = signatures.pop(INIT_OP_KEY, None)
    for key in (*edits.keep, *edits.rename):
        require(signatures, key)
    kept = {key: each for key, each in signatures.items() if not edits.keep or key in edits.keep}
    kept = _renamed(kept, edits.rename, "signatures")
    made.ClearField("signature_def")
    for key, signature in kept.items():
        made.signature_def[key].CopyFrom(signature)
    if init is not None:
        made.signature_def[INIT_OP_KEY].CopyFrom(init)
    for role, renamings in (("inputs", edits.inputs), ("outputs", edits.outputs)):
        for key, renames in _by_signature(kept, role, renamings).items():
            _rename_aliases(made.signature_def[key], role, renames)
    if edits.tags:
        made.meta_info_def.ClearField("tags")
        made.meta_info_def.tags.extend(edits.tags)
    return made


def set_default(graph: tf.MetaGraphDef, key: str) -> None:
    """Let `serving_default` be the same as another signature, which keeps its own name too.

    Raises:
        NotFoundError: There is no such signature.
    """
    signature = require(graph.signature_def, key)
    if key != DEFAULT_SIGNATURE:
        graph.signature_def[DEFAULT_SIGNATURE].CopyFrom(signature)


def require(signatures: Mapping[str, tf.SignatureDef], key: str) -> tf.SignatureDef:
    """The signature of this key.

    Raises:
        NotFoundError: There is none.
    """
    if key not in signatures:
        there = ", ".join(sorted(signatures.keys() - {INIT_OP_KEY})) or "none"
        raise NotFoundError(f'there is no signature "{key}"; the model has {there}')
    return signatures[key]


def without_object_graph(graph: tf.MetaGraphDef) -> tf.MetaGraphDef:
    """The same with the fields that servers read."""
    made = tf.MetaGraphDef(
        meta_info_def=graph.meta_info_def,
        graph_def=graph.graph_def,
        collection_def=graph.collection_def,
        signature_def=graph.signature_def,
        asset_file_def=graph.asset_file_def,
    )
    if graph.HasField("saver_def"):
        made.saver_def.CopyFrom(graph.saver_def)
    return made


def _renamed(named: Mapping[str, Any], renames: Mapping[str, str], what: str) -> dict[str, Any]:
    names = [renames.get(name, name) for name in named]
    for name in names:
        if names.count(name) > 1:
            raise InvalidArgumentError(f'two {what} would have the name "{name}"')
    return dict(zip(names, named.values(), strict=True))


def _by_signature(
    signatures: Mapping[str, tf.SignatureDef], role: str, renamings: Iterable[Renaming]
) -> dict[str, dict[str, str]]:
    """New by old alias, by signature."""
    found: dict[str, dict[str, str]] = {}
    for each in renamings:
        if each.signature:
            require(signatures, each.signature)
        keys = [each.signature] if each.signature else list(signatures)
        having = [key for key in keys if each.old in getattr(signatures[key], role)]
        if not having:
            there = sorted({alias for key in keys for alias in getattr(signatures[key], role)})
            where, those = ", ".join(sorted(keys)), ", ".join(there) or "none"
            raise NotFoundError(f'there is no {role[:-1]} "{each.old}" in {where}; there are {those}')
        for key in having:
            found.setdefault(key, {})[each.old] = each.new
    return found


def _rename_aliases(signature: tf.SignatureDef, role: str, renames: Mapping[str, str]) -> None:
    for name in (role, "defaults") if role == "inputs" else (role,):
        infos = getattr(signature, name)
        copies = {alias: type(info).FromString(info.SerializeToString()) for alias, info in infos.items()}
        signature.ClearField(name)  # type: ignore[arg-type]
        for alias, info in _renamed(copies, renames, f"{role} of a signature").items():
            getattr(signature, name)[alias].CopyFrom(info)
