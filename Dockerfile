# The container image: pyserve in the place of tensorflow/serving. How to use it: docs/container.md.
#
#   docker build -t pyserve .                    CPU
#   docker build -t pyserve:gpu --target gpu .   NVIDIA GPU
#
# packages ─► cpu-packages, gpu-packages   a virtual environment with TensorFlow and the other dependencies
# packages ─► application                  pyserve alone, as a layer of its own: an upgrade pulls that one only
# runtime  ─► cpu, gpu                     the base, the entry point, the two layers above; no pip, no compiler
#
# BASE is any Debian-like image with Python >= 3.11 and its venv module. A package index of your own is told to the
# build, and kept out of the image, by `--secret id=pip.conf,src=<file>`.
ARG BASE=python:3.12-slim

# ---------------------------------------------------------------------------------------------------------------------
FROM ${BASE} AS packages
# Two environments: one with pip, which fills the one that ships.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/pyserve
# Bytecode is compiled once, at the end, and not when and where it was installed: see docker/finish.sh.
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY docker/finish.sh docker/requirements.py ./
COPY pyproject.toml ./
RUN python3 requirements.py pyproject.toml > requirements.txt

# ---------------------------------------------------------------------------------------------------------------------
FROM packages AS cpu-packages
ARG TENSORFLOW_VERSION=">=2.18"
# On x86 tensorflow-cpu is the same library without the GPU's half. Elsewhere tensorflow itself has no such half.
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/build/bin/pip --python /opt/pyserve/bin/python3 install -r requirements.txt \
        "tensorflow-cpu${TENSORFLOW_VERSION}; platform_machine == 'x86_64'" \
        "tensorflow${TENSORFLOW_VERSION}; platform_machine != 'x86_64'"
RUN sh finish.sh /opt/pyserve

# ---------------------------------------------------------------------------------------------------------------------
FROM packages AS application
COPY README.md LICENSE ./
COPY src src
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/build/bin/pip wheel --no-deps --wheel-dir /wheel . \
    && /opt/build/bin/pip --python /opt/pyserve/bin/python3 install --no-deps --no-index --prefix /application /wheel/*.whl
RUN sh finish.sh /application

# ---------------------------------------------------------------------------------------------------------------------
FROM ${BASE} AS runtime
# The names that manifests written for tensorflow/serving may use. The link is made before there is a target.
RUN mkdir -p /models && ln -s /opt/pyserve/bin/pyserve /usr/bin/tensorflow_model_server
COPY --chmod=755 docker/tf_serving_entrypoint.sh /usr/bin/
COPY --chmod=644 docker/healthcheck.py /opt/pyserve/
# Nothing writes a file, so the file system may be read-only. Bytecode is complete; and while TensorFlow is imported a
# test library asks for a writable temporary directory, which it does not use, and fails when there is none, unless
# TEST_TMPDIR names one.
ENV MODEL_BASE_PATH=/models \
    MODEL_NAME=model \
    PATH=/opt/pyserve/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TEST_TMPDIR=/tmp
EXPOSE 8500 8501
# A number, so that Kubernetes can see that it is not root; any other number does too.
USER 10001:0
ENTRYPOINT ["/usr/bin/tf_serving_entrypoint.sh"]
# Until the first success failures do not count for the start period; ports open once the models are loaded.
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
    CMD ["/opt/pyserve/bin/python3", "-IS", "/opt/pyserve/healthcheck.py"]
LABEL org.opencontainers.image.title="pyserve" \
      org.opencontainers.image.description="A pure-Python model server that takes over from TensorFlow Serving" \
      org.opencontainers.image.url="https://github.com/pyserve/pyserve" \
      org.opencontainers.image.source="https://github.com/pyserve/pyserve" \
      org.opencontainers.image.licenses="Apache-2.0"

# ---------------------------------------------------------------------------------------------------------------------
FROM runtime AS cpu
COPY --from=cpu-packages /opt/pyserve /opt/pyserve
COPY --from=application /application /opt/pyserve
ARG VERSION=""
ARG REVISION=""
LABEL org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"

# ---------------------------------------------------------------------------------------------------------------------
FROM packages AS gpu-packages
ARG TENSORFLOW_VERSION=">=2.18"
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/build/bin/pip --python /opt/pyserve/bin/python3 install -r requirements.txt \
        "tensorflow[and-cuda]${TENSORFLOW_VERSION}"
RUN sh finish.sh /opt/pyserve

# ---------------------------------------------------------------------------------------------------------------------
FROM runtime AS gpu
# CUDA comes with the packages; the driver comes from the host, and these two ask NVIDIA's container runtime for it.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=gpu-packages /opt/pyserve /opt/pyserve
COPY --from=application /application /opt/pyserve
ARG VERSION=""
ARG REVISION=""
LABEL org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"

# ---------------------------------------------------------------------------------------------------------------------
# The last stage is what a build without --target makes.
FROM cpu
