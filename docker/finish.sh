#!/bin/sh
# Make an installed tree ready to ship: without what a server never opens, and with all bytecode. Runs in the build.
#
#   finish.sh <prefix>     the prefix has lib/python3.*/site-packages
set -eu
cd "$1"/lib/python3.*/site-packages

# C++ headers and sources are for building custom operations; libclang is required by TensorFlow, and imported by
# nothing in it; tests are tests.
rm -rf tensorflow/include tensorflow/xla_aot_runtime_src clang
find . -type d -name tests -prune -exec rm -rf {} +
find . -type f \( -name '*.a' -o -name '*.h' -o -name '*.pyi' \) -delete

# The image's file system may be read-only, so bytecode is complete; checked by nothing at run time, so that it stays
# valid whatever the file times become when layers are packed. A few files of others are no valid Python: not ours to
# mend, hence no exit code.
python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash . > /dev/null || true
