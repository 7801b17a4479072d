"""Which method and signature a Classify, Regress or MultiInference request means, and what its run gave. Pure.

`prediction_service` asks here when a request is opened; front ends ask again when the outputs are there.
Order and texts of the refusals are TensorFlow Serving's (servables/tensorflow/multi_inference.cc and util.cc).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pyserve.codec.examples import InferenceTask
from pyserve.codec.inference_results import Result
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError, UnimplementedError
from pyserve.inference.classification import classification_outputs, classifications
from pyserve.inference.example_methods import Method, Plan
from pyserve.inference.regression import regression_outputs, regressions
from pyserve.servable import CLASSIFY_METHOD, DEFAULT_SIGNATURE, REGRESS_METHOD, OutputOf, Signature

CLASSIFY = Method("classification", CLASSIFY_METHOD, classification_outputs, classifications)
REGRESS = Method("regression", REGRESS_METHOD, regression_outputs, regressions)
_METHODS = {method.method_name: method for method in (CLASSIFY, REGRESS)}

DeclaredOf = Callable[[str], str]
"""Signature key → text of its SignatureDef."""


def plan_one(
    method: Method,
    key: str,
    signatures: Mapping[str, Signature],
    declared: DeclaredOf,
    *,
    check_method_name: bool,
) -> Plan:
    """The plan of a Classify or Regress request.

    Args:
        key: As the request names the signature; empty means `serving_default`.

    Raises:
        InvalidArgumentError: There is no such signature, or it does not suit the method.
    """
    key = key or DEFAULT_SIGNATURE
    signature = signatures.get(key)
    if signature is None:
        raise InvalidArgumentError(f"No signature was found with the name: {key}")
    return Plan.of(method, signature, lambda: declared(key), check_method_name=check_method_name)


def plan_several(
    tasks: Sequence[InferenceTask],
    signatures: Mapping[str, Signature],
    declared: DeclaredOf,
    *,
    check_method_name: bool,
) -> list[Plan]:
    """The plans of a MultiInference request, one per task; the first task that is wrong decides the error.

    Raises:
        InvalidArgumentError: A task names no model or another one, repeats a signature, names an unknown one, or
            one that does not suit its method.
        UnimplementedError: A task's method is neither Classify nor Regress.
    """
    plans: dict[str, Plan] = {}
    for task in tasks:
        if not task.model_spec.name:
            raise InvalidArgumentError("Found ModelSpec with an empty model name.")
        if task.model_spec.name != tasks[0].model_spec.name:
            raise InvalidArgumentError(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        key = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if key in plans:
            raise InvalidArgumentError(f"Duplicate evaluation of signature: {key}")
        signature = signatures.get(key)
        if signature is None:
            raise InvalidArgumentError(f"Requested signature not found in model graph: {key}")
        method = _METHODS.get(task.method_name)
        if method is None:
            raise UnimplementedError(f"Unsupported signature method_name: {task.method_name}")
        plans[key] = Plan.of(
            method,
            signature,
            lambda: declared(key),  # noqa: B023  # called at once or never
            check_method_name=check_method_name,
        )
    return list(plans.values())


def wanted_outputs(plans: Sequence[Plan]) -> dict[str, OutputOf]:
    """What a joint run computes for the plans, by names of this module's own."""
    return {
        _joint_name(number, alias): OutputOf(plan.signature.key, alias)
        for number, plan in enumerate(plans)
        for alias in plan.outputs
    }


def results_of(plans: Sequence[Plan], outputs: Mapping[str, Array], num_examples: int) -> list[Result]:
    """What each plan's outputs mean: those of a joint run, or of a plain run of the only plan.

    Raises:
        InvalidArgumentError: The outputs of a plan are not as its method needs them.
    """
    if len(plans) == 1:
        return [plans[0].method.result(outputs, num_examples)]
    return [
        plan.method.result(
            {alias: outputs[_joint_name(number, alias)] for alias in plan.outputs}, num_examples
        )
        for number, plan in enumerate(plans)
    ]


def _joint_name(number: int, alias: str) -> str:
    return f"{number}/{alias}"
