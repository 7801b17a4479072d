"""What a request must look like: the signature that a server has."""

from __future__ import annotations

from pyserve.codec.predict import ModelSpec
from pyserve.errors import NotFoundError, ServingError, error_for
from pyserve.servable import DEFAULT_SIGNATURE, Signature
from pyserve.tools.bench.target import Target
from pyserve.tools.remote import connect


def fetch_signature(target: Target, spec: ModelSpec, timeout_s: float = 10.0) -> Signature:
    """Ask a server for the signature that a request with this spec uses.

    Raises:
        NotFoundError: The model has no such signature, or is not there.
        ServingError: The server cannot be reached, or what it answers.
    """
    address = str(target).removeprefix("grpc://")
    with connect(address, timeout_s) as client:
        try:
            found = client.metadata(spec.name, version=spec.version, label=spec.version_label)
        except ServingError as error:
            raise error_for(error.code, f"{target}: {error}") from None
    key = spec.signature_name or DEFAULT_SIGNATURE
    if key not in found.signatures:
        known = ", ".join(sorted(found.signatures))
        raise NotFoundError(f'model {spec.name} has no signature "{key}"; it has {known}')
    return found.signatures[key]
