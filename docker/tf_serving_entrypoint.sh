#!/bin/sh
# The container's entry point: the server for the one model that the environment names, as in tensorflow/serving.
#
# The container's arguments come last, and of a flag given twice the last one counts: --port, --rest_api_port and
# --model_name can be changed, and --model_config_file makes the model named here irrelevant.
# exec, so that the server is the container's first process and gets the stop signal.
exec tensorflow_model_server --port=8500 --rest_api_port=8501 \
    --model_name="${MODEL_NAME}" --model_base_path="${MODEL_BASE_PATH}/${MODEL_NAME}" "$@"
