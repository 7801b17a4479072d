"""What a Predict request must satisfy before it may wait in a queue: names and dtypes, nothing else.

Pure functions over a `Signature`. Shapes are deliberately not checked: TensorFlow Serving feeds whatever
shape arrives, and models rely on it; a wrong one is the graph's own error. Orders of checks and texts are
those of TensorFlow Serving (servables/tensorflow/predict_util.cc).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pyserve.errors import FailedPreconditionError, InternalError, InvalidArgumentError
from pyserve.servable import (
    CLASSIFY_METHOD,
    DEFAULT_SIGNATURE,
    PREDICT_METHOD,
    REGRESS_METHOD,
    Signature,
    TensorSpec,
)

if TYPE_CHECKING:
    from pyserve.dtypes import DType

_ANY_METHOD = (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD)


def find_signature(signatures: Mapping[str, Signature], key: str) -> Signature:
    """The signature of a Predict request; an empty key means `serving_default`.

    Raises:
        FailedPreconditionError: There is none of this key.
    """
    signature = signatures.get(key or DEFAULT_SIGNATURE)
    if signature is None:
        raise FailedPreconditionError(f'Serving signature key "{key or DEFAULT_SIGNATURE}" not found.')
    return signature


def check_method_name(signature: Signature) -> None:
    """With `--enable_signature_method_name_check`: the signature must be one of the three serving kinds."""
    if signature.method_name not in _ANY_METHOD:
        raise InternalError(
            "Expected prediction signature method_name to be one of {"
            + ", ".join(_ANY_METHOD)
            + f"}}. Was: {signature.method_name}"
        )


def check_input_names(signature: Signature, sent: Iterable[str]) -> None:
    """Refuse a request whose inputs are not those that the signature declares.

    Raises:
        InvalidArgumentError: Too many or too few inputs, a missing one without a default, or an unknown one.
    """
    names = set(sent)
    wanted = signature.inputs.keys()
    if len(names) > len(wanted) or (len(names) < len(wanted) and not signature.defaults):
        extra = ",".join(sorted(names - wanted))
        missing = ",".join(sorted(wanted - names))
        raise InvalidArgumentError(
            f"input size does not match signature: {len(names)}!={len(wanted)} "
            f"len({{{_listed(names)}}}) != len({{{_listed(wanted)}}}). "
            f"Sent extra: {{{extra}}}. Missing but required: {{{missing}}}."
        )
    for alias in sorted(wanted):
        if alias not in names and alias not in signature.defaults:
            raise InvalidArgumentError(
                f"Signature input alias: {alias}(feed name: {signature.inputs[alias].tensor_name}) not found in "
                f"request and no default value provided. Inputs expected to be in the request "
                f"{{{_listed(names)}}}, or default input alias set: {_listed(signature.defaults)}"
            )


def check_known_names(signature: Signature, sent: Iterable[str]) -> None:
    """Refuse a name that the signature does not declare, where the counts alone did not show it.

    It comes after the tensors were parsed, as in TensorFlow Serving.
    """
    names = set(sent)
    used = names & signature.inputs.keys()
    if used != names:
        raise InvalidArgumentError(
            f"Inputs contains invalid name. Used request inputs: {_listed(used)}, request input: {_listed(names)}"
        )


def check_dtypes(signature: Signature, dtypes: Mapping[str, DType]) -> None:
    """Refuse an input of another dtype than declared, in the words of TensorFlow's runtime.

    The index counts the fed graph tensors in the order of their names, which is how TensorFlow orders feeds.
    """
    wrong = {a: d for a, d in dtypes.items() if d is not signature.inputs[a].dtype}
    if not wrong:
        return
    feeds = sorted(signature.inputs.values(), key=lambda spec: spec.tensor_name)
    for index, spec in enumerate(feeds):
        if spec.alias in wrong:
            raise _wrong_dtype(index, spec, wrong[spec.alias])


def check_shared_dtype(signatures: Iterable[Signature], dtype: DType) -> None:
    """Refuse an array that is fed to every input of several signatures, where one has another dtype declared."""
    # Signatures may share an input tensor, which is then fed once.
    feeds = {spec.tensor_name: spec for signature in signatures for spec in signature.inputs.values()}
    for index, name in enumerate(sorted(feeds)):
        if feeds[name].dtype is not dtype:
            raise _wrong_dtype(index, feeds[name], dtype)


def _wrong_dtype(index: int, spec: TensorSpec, dtype: DType) -> InvalidArgumentError:
    return InvalidArgumentError(f"Expects arg[{index}] to be {spec.dtype.name} but {dtype.name} is provided")


def chosen_outputs(signature: Signature, output_filter: Sequence[str]) -> Sequence[str]:
    """The aliases to answer with: those of the filter, or all, in sorted order, when it is empty.

    Raises:
        InvalidArgumentError: The filter names an unknown output, or one twice.
    """
    if not output_filter:
        return tuple(sorted(signature.outputs))
    seen: set[str] = set()
    for alias in output_filter:
        if alias not in signature.outputs:
            raise InvalidArgumentError(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{_listed(signature.outputs)}}}."
            )
        if alias in seen:
            raise InvalidArgumentError(f"duplicate output tensor alias: {alias}")
        seen.add(alias)
    return tuple(output_filter)


def _listed(names: Iterable[str]) -> str:
    return ",".join(sorted(names))
