"""Predict and the methods over tf.Examples, protocol-neutral: a model's handle, a signature's rules, a task to run.

A front end opens a request on a model, decodes its inputs by the signature that it finds there, and takes a
task. Until the task exists the open request owns the servable handle; afterwards the task does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from pyserve import dtypes
from pyserve.batching.graph_task import GraphTask
from pyserve.batching.joint_task import JointTask
from pyserve.batching.task import Task
from pyserve.codec.examples import InferenceTask
from pyserve.codec.signature_def import signature_text
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError
from pyserve.inference import multi_inference
from pyserve.inference import signature as rules
from pyserve.inference.example_methods import INPUTS, Method, Plan
from pyserve.inference.router import Router
from pyserve.servable import DEFAULT_SIGNATURE, ServableHandle, ServableId, Signature


class PredictionService:
    """Opens requests on models. Thread-safe.

    Args:
        router: Resolves model, version and label.
        check_method_name: Require a signature's method_name to be one of the serving kinds.
    """

    def __init__(self, router: Router, *, check_method_name: bool = False) -> None:
        self._router = router
        self._check_method_name = check_method_name

    def open(self, name: str, version: int | None = None, label: str | None = None) -> OpenRequest:
        """Begin a request on a model; to be used as a context manager.

        Raises:
            ServingError: The router's refusals.
        """
        return OpenRequest(self._router.route(name, version, label), self._check_method_name)


class OpenRequest:
    """A request that has its servable and not yet its task. Leaving the context without a task lets go of it."""

    def __init__(self, handle: ServableHandle, check_method_name: bool) -> None:
        self._handle: ServableHandle | None = handle
        self._check_method_name = check_method_name
        self.id: ServableId = handle.id
        self._servable = handle.servable
        self.signatures: Mapping[str, Signature] = handle.servable.signatures

    def signature(self, key: str) -> Signature:
        """The signature to use; an empty key means `serving_default`.

        Raises:
            FailedPreconditionError: There is none.
            InternalError: Its method_name is not a serving kind, and that is checked.
        """
        return self._checked(rules.find_signature(self.signatures, key))

    def signature_for_rest(self, key: str) -> Signature:
        """The same with the code and text that TensorFlow Serving uses over REST."""
        found = self.signatures.get(key or DEFAULT_SIGNATURE)
        if found is None:
            raise InvalidArgumentError(
                f'Serving signature name: "{key or DEFAULT_SIGNATURE}" not found in signature def'
            )
        return self._checked(found)

    def task(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        output_filter: Sequence[str],
        deadline: float | None,
    ) -> Task:
        """The task that answers the request; it takes over the handle.

        Args:
            signature: One of this servable's.
            inputs: As sent, by alias; the names have been checked.
            output_filter: Aliases wanted; empty: all.
            deadline: On `time.monotonic()`; None: no limit.

        Raises:
            InvalidArgumentError: A wrong dtype, or a bad output filter.
        """
        outputs = rules.chosen_outputs(signature, output_filter)
        rules.check_dtypes(signature, {alias: dtypes.of_array(array) for alias, array in inputs.items()})
        if len(inputs) < len(signature.inputs):
            inputs = {**signature.defaults, **inputs}
        return Task(self._take_handle(), signature.key, inputs, outputs, deadline)

    def plan(self, method: Method, key: str) -> Plan:
        """The signature of a Classify or Regress request, found fit for it; an empty key means `serving_default`.

        Raises:
            InvalidArgumentError: There is none, or it does not suit the method.
        """
        return multi_inference.plan_one(
            method, key, self.signatures, self._declared, check_method_name=self._check_method_name
        )

    def plans(self, tasks: Sequence[InferenceTask]) -> list[Plan]:
        """The signatures of a MultiInference request, each found fit for its method.

        Raises:
            InvalidArgumentError, UnimplementedError: The first task that is wrong.
        """
        return multi_inference.plan_several(
            tasks, self.signatures, self._declared, check_method_name=self._check_method_name
        )

    def examples_task(self, plans: Sequence[Plan], examples: Array, deadline: float | None) -> Task:
        """The task that runs the plans over the same examples; it takes over the handle.

        Args:
            plans: At least one, of different signatures of this servable.
            examples: Serialized tf.Examples, a string tensor of rank 1.
            deadline: On `time.monotonic()`, for all of it; None: no limit.

        Raises:
            InvalidArgumentError: A signature takes no strings.
        """
        if len(plans) == 1:
            return self.task(plans[0].signature, {INPUTS: examples}, plans[0].outputs, deadline)
        rules.check_shared_dtype((plan.signature for plan in plans), dtypes.of_array(examples))
        wanted = multi_inference.wanted_outputs(plans)
        return JointTask(self._take_handle(), wanted, examples, deadline)

    def graph_task(
        self,
        feeds: Mapping[str, Array],
        fetches: Sequence[str],
        targets: Sequence[str],
        deadline: float | None,
    ) -> Task:
        """The task of a SessionRun request; it takes over the handle. Nothing is checked before it runs."""
        return GraphTask(self._take_handle(), feeds, fetches, targets, deadline)

    def _take_handle(self) -> ServableHandle:
        handle, self._handle = self._handle, None
        if handle is None:
            raise RuntimeError("a request has one task")
        return handle

    def _declared(self, key: str) -> str:
        return signature_text(self._servable.signature_def_map, key)

    def _checked(self, signature: Signature) -> Signature:
        if self._check_method_name:
            rules.check_method_name(signature)
        return signature

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.release()
