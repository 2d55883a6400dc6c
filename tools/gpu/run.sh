#!/bin/sh
# Runs one part of the pack, or makes the page of all:
#   sh run.sh --part N [--out FOLDER] [--only TEXT] [--tiny]
#   sh run.sh --report [--out FOLDER]
# Needs an NVIDIA driver and a Python with PyTorch (python3, or the one MEGATRON_PYTHON names), and nothing else.
set -u
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 143' INT TERM

# Whichever of these there is can read what xz wrote.
if ! { xz -dc "$here/node.xz" >"$work/node" 2>/dev/null; }; then
  if ! "${MEGATRON_PYTHON:-python3}" -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), open(sys.argv[2], "wb"))' \
    "$here/node.xz" "$work/node"; then
    echo 'gpu-pack: node.xz cannot be unpacked: there is no xz, and no Python with lzma. Install one of them.' >&2
    exit 1
  fi
fi
chmod +x "$work/node"

# Compiled kernels are kept for the next part, where the pack's folder can be written to.
if [ -z "${MEGATRON_CACHE:-}" ]; then
  MEGATRON_CACHE=$work/cache
  if mkdir -p "$here/.cache" 2>/dev/null && [ -w "$here/.cache" ]; then MEGATRON_CACHE=$here/.cache; fi
fi
HOME=${HOME:-$work}
export MEGATRON_CACHE HOME

# A part watches its own time; this is for what does not come back, such as a call into the driver.
timeout -k 5 535 "$work/node" "$here/programs/main.js" "$@"
status=$?
if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then echo 'gpu-pack: the part was killed after 535 s; the rows it had are kept.' >&2; fi
exit "$status"
