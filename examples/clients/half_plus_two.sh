#!/bin/sh
# Status, predict and an error over REST with curl.
#
#     sh half_plus_two.sh http://localhost:8501

set -eu
server=${1:-http://localhost:8501}

echo "status:"
curl --fail-with-body --silent "$server/v1/models/half_plus_two/versions/2"

echo "predict:"
curl --fail-with-body --silent --data '{"instances": [1.0, 2.0, 5.0]}' "$server/v1/models/half_plus_two:predict"
echo

echo "a version by its label, and inputs by name:"
curl --silent --data '{"inputs": {"x": [1.0]}}' "$server/v1/models/half_plus_two/labels/stable:predict"
echo

echo "a model that is not there:"
curl --silent --write-out '\nHTTP %{http_code}\n' --data '{"instances": [1.0]}' "$server/v1/models/nope:predict"
