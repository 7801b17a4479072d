// Predict over gRPC from Node, with messages loaded from this repository's protos/ as they are.
//
//     npm install
//     node client.js localhost:8500 1 2 5

"use strict";

const path = require("path");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const protos = process.env.PROTOS || path.join(__dirname, "..", "..", "..", "protos");
const definition = protoLoader.loadSync("tensorflow_serving/apis/prediction_service.proto", {
  includeDirs: [protos],
  keepCase: true, // names as in the .proto files
  enums: String,
});
const { serving } = grpc.loadPackageDefinition(definition).tensorflow;

const [address = "localhost:8500", ...values] = process.argv.slice(2);
const x = (values.length ? values : ["1", "2", "5"]).map(Number);

const client = new serving.PredictionService(address, grpc.credentials.createInsecure(), {
  // Tensors of any size; by default answers above 4 MB are refused.
  "grpc.max_receive_message_length": -1,
  "grpc.max_send_message_length": -1,
});
const request = {
  model_spec: { name: "half_plus_two" },
  inputs: { x: { dtype: "DT_FLOAT", tensor_shape: { dim: [{ size: x.length }] }, float_val: x } },
};

client.Predict(request, { deadline: Date.now() + 10000 }, (error, answer) => {
  client.close();
  if (error) {
    console.error(`${grpc.status[error.code]}: ${error.details}`);
    process.exitCode = 1;
    return;
  }
  console.log(`version ${answer.model_spec.version.value}: ${answer.outputs.y.float_val.join(" ")}`);
});
