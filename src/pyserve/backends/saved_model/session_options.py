"""From TensorFlowOptions to the fields of a session's ConfigProto. Pure; TensorFlow is not needed.

`runtime` hands the result to TensorFlow, with the parts that belong to the process as the process has them.
"""

from __future__ import annotations

from pyserve.config import TensorFlowOptions
from pyserve.protos import tf


def config_proto(options: TensorFlowOptions) -> tf.ConfigProto:
    """The options of a session.

    The base is `options.session_config`. Thread counts and the GPU memory fraction always replace its values, also
    by 0, which leaves the choice to TensorFlow; the mixed precision is only ever turned on. Devices named in a
    graph are wishes (soft placement): a model exported on a GPU machine is served without one.

    Source: TensorFlow Serving, model_servers/server.cc; soft placement is pyserve's.

    Raises:
        google.protobuf.message.DecodeError: `session_config` is no ConfigProto.
    """
    config = tf.ConfigProto.FromString(options.session_config)
    config.intra_op_parallelism_threads = options.intra_op_parallelism
    config.inter_op_parallelism_threads = options.inter_op_parallelism
    config.gpu_options.per_process_gpu_memory_fraction = options.per_process_gpu_memory_fraction
    config.allow_soft_placement = True
    if options.bfloat16_mixed_precision:
        rewrites = config.graph_options.rewrite_options
        rewrites.auto_mixed_precision_onednn_bfloat16 = tf.RewriterConfig.ON
    return config
