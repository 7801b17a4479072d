"""The meaning of bytes: protobuf and JSON in, numpy arrays out, and back.

Pure functions and values without sockets, threads or clocks; everything may be called from any thread. The
data flow enters through `predict` or `examples` (gRPC), `json_predict` or `json_examples` (REST) and leaves
through `predict`, `inference_results` or `json_writer`; a dtype is looked up in `pyserve.dtypes`, nowhere else.

    tensor_proto    one TensorProto → one array        json_parser     JSON text → values, exact errors
    tensor_writer   one array → one TensorProto        json_value      what a JSON value is, how it is shown
    predict         PredictRequest, PredictResponse    json_tensor     one JSON value → one array
    signature_def   SignatureDef → Signature           json_predict    a REST predict request → arrays
    examples        requests of tf.Examples            json_examples   a REST classify request → Examples
    inference_results   classes, numbers → responses
    model_json      status and metadata as JSON        json_writer     arrays → a REST answer; error bodies
    message         bytes → one protobuf message       json_answer     a REST answer → arrays (the client)
    model_config, text_file                            configuration files: text format → values
"""
