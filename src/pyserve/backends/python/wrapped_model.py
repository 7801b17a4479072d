"""The SavedModel that a handler is around, as the handler sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyserve.backends.arrays import as_declared
from pyserve.dtypes import Array
from pyserve.errors import InternalError
from pyserve.servable import DEFAULT_SIGNATURE, Servable, Signature


class WrappedModel:
    """Runs a model's signatures with what a handler gives. Any thread may use it, until the version is unloaded."""

    def __init__(self, servable: Servable) -> None:
        self._servable = servable

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """What the model declares, by key."""
        return self._servable.signatures

    def predict(
        self,
        inputs: Mapping[str, Any],
        signature_key: str = DEFAULT_SIGNATURE,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, Array]:
        """Run one signature.

        Args:
            inputs: By alias: arrays, or what numpy makes one of. Those with a default may be left out. As with any
                request, shapes are the model's own affair.
            signature_key: Which signature.
            outputs: Aliases to compute; None: all.

        Raises:
            InternalError: The model has no such signature, input or output.
            ServingError: What the model says.
        """
        signature = self._servable.signatures.get(signature_key)
        if signature is None:
            known = ", ".join(sorted(self._servable.signatures))
            raise InternalError(f'The model has no signature "{signature_key}"; it has {known}')
        wanted = sorted(signature.outputs) if outputs is None else list(dict.fromkeys(outputs))
        if unknown := [alias for alias in wanted if alias not in signature.outputs]:
            raise InternalError(f'The model\'s signature "{signature_key}" has no output "{unknown[0]}"')
        specs = {alias: replace(spec, shape=None) for alias, spec in signature.inputs.items()}
        arrays = as_declared(
            {**signature.defaults, **inputs},
            specs,
            f'the call of the model\'s signature "{signature_key}"',
        )
        return self._servable.run(signature_key, arrays, wanted)
