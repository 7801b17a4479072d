#!/usr/bin/env bash
# Build the container image and check it in real containers, on a machine without Docker and without a registry.
#
#   tests/container/run.sh            as root, on Debian or a relative of it; about four minutes, 6 GB of disk
#
# It needs the Debian packages podman, runc, netavark, iptables and debootstrap, and installs nothing. podman leaves its
# chains, empty, in the machine's packet filter. The base image is made by debootstrap, with Debian's own Python. With
# Docker and a registry this script is not needed:
#
#   docker build -t pyserve . && python3 tests/container/check_image.py --engine docker pyserve
#
# From the environment:
#   PIP_CONF             a pip.conf for the build; the image never holds it
#   BUILD_VOLUMES        files and directories to be seen by the build where they are here: a CA file, a wheel directory
#   SUITE, MIRROR        the Debian release (bookworm) and where debootstrap finds it
#   WORK                 where to make the scratch directory (/tmp); it is removed at the end unless KEEP=1
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

for tool in podman runc debootstrap iptables; do
  command -v "$tool" > /dev/null || {
    echo "$tool is missing: apt-get install podman runc netavark iptables debootstrap" >&2
    exit 2
  }
done

work=$(mktemp -d "${WORK:-/tmp}/pyserve-container.XXXXXX")
mkdir "$work/tmp"
export TMPDIR=$work/tmp  # where the build's pip cache goes
# A store of our own, so that this machine's images are neither used nor touched. runc, because crun refuses hosts with
# both versions of control groups.
engine="podman --root $work/store --runroot $work/state --cgroup-manager cgroupfs --events-backend file --runtime runc"
finish() {
  [ "${KEEP:-0}" = 1 ] && echo "kept: $work" && return
  $engine rm --all --force > /dev/null 2>&1 || true
  $engine rmi --all --force > /dev/null 2>&1 || true
  umount -l "$work"/store/overlay 2> /dev/null || true
  rm -rf "$work"
}
trap finish EXIT

echo "== base image: Debian ${SUITE:-bookworm} with Python"
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
  "${SUITE:-bookworm}" "$work/base" ${MIRROR:+"$MIRROR"} > "$work/debootstrap.log" || {
  tail -5 "$work/debootstrap.log" >&2
  exit 1
}
# What Debian's slim images leave out, too.
rm -rf "$work"/base/var/cache/apt/* "$work"/base/var/lib/apt/lists/* "$work"/base/usr/share/{doc,man,locale,info}
tar -C "$work/base" -c . | $engine import --quiet - localhost/debian-python
rm -rf "$work/base"

echo "== build"
options=()
[ -n "${PIP_CONF:-}" ] && options+=(--secret "id=pip.conf,src=$PIP_CONF")
for path in ${BUILD_VOLUMES:-}; do options+=(--volume "$path:$path:ro"); done
# Docker's image format, because the other one has no health check.
time $engine build --format docker --isolation chroot --network host --layers \
  --build-arg BASE=localhost/debian-python --build-arg VERSION=test "${options[@]}" \
  --tag localhost/pyserve "$repository" > "$work/build.log" 2>&1 || { tail -40 "$work/build.log" >&2; exit 1; }
$engine history --format '{{.Size}}\t{{.CreatedBy}}' localhost/pyserve | grep -v '^0 B'
$engine images --format '{{.Repository}}\t{{.Size}}' | grep -v none
printf 'saved and compressed: %s bytes\n' "$($engine save localhost/pyserve 2> /dev/null | gzip -6 | wc -c)"

echo "== check"
# The engine's defaults raise limits, which a sandbox may refuse; and its timer for health checks is systemd's.
python3 "$repository/tests/container/check_image.py" --engine "$engine" \
  --run-options "--ulimit nofile=4096:4096 --ulimit nproc=4096:4096 --health-interval=disable" localhost/pyserve
