#!/bin/sh
# Make messages and stubs from this repository's protos/ with grpcio-tools.
#
#     sh make_stubs.sh DIRECTORY

set -eu
directory=$1
protos=${PROTOS:-$(dirname "$0")/../../../protos}
mkdir -p "$directory"
find "$protos/tensorflow" "$protos/tensorflow_serving" -name '*.proto' -print0 |
    xargs -0 "${PYTHON:-python}" -m grpc_tools.protoc \
        --proto_path="$protos" --python_out="$directory" --grpc_python_out="$directory"
# As regular packages they are found before an installed TensorFlow, whose place in the path is later.
find "$directory/tensorflow" "$directory/tensorflow_serving" -type d -exec touch {}/__init__.py \;
