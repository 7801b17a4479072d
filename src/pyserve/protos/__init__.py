"""The protocol messages: one module per proto package, all in one private descriptor pool.

    from pyserve.protos import tf, tfs

    tfs        tensorflow.serving           PredictRequest, ModelServerConfig, BatchingParameters, ...
    tf         tensorflow                   TensorProto, DataType, SignatureDef, SavedModel, ConfigProto, ...
    wkt        google.protobuf              Any, Int64Value, ... (of the private pool)
    health, reflection, reflection_v1alpha  grpc.health.v1, grpc.reflection.v1, grpc.reflection.v1alpha
    eas        eas                          PredictRequest, PredictResponse, ArrayProto of Alibaba EAS
    tf_error, tfs_tools, tfrt               small packages that the others refer to

Those modules, their `.pyi` and `descriptors.binpb` are generated from the top-level `protos/` by
`python protos/generate.py` and never edited; `registry.py` and `text.py` are written by hand.
"""

from __future__ import annotations

from pyserve.protos.registry import Method, message_class, methods, pool, service
from pyserve.protos.text import ParseError, parse_text, to_text

__all__ = ["Method", "ParseError", "message_class", "methods", "parse_text", "pool", "service", "to_text"]
