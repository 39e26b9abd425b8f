#!/usr/bin/env bash
# All benchmarks and the tests marked `gpu` on a machine with a CUDA device, within nine minutes.
#
#   bash benchmarks/gpu.sh [OUT]        # OUT/gpu.json, OUT/gpu.md and the logs; default out/gpu
#
# PYTHON chooses the Python. Each part has a time limit of its own, within the total; a part that
# fails, is missing or runs out of time is marked in the table and does not stop the others.
# Exit code 0 if all ran and passed, 1 if something did not, 2 without a CUDA device.
set -uo pipefail
cd "$(dirname "$0")/.."

deadline=$((SECONDS + 525))
out=${1:-out/gpu}
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}

if ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
  echo "gpu.sh: no CUDA device for $python; nothing was measured" >&2
  exit 2
fi
rm -rf "$out/parts"
mkdir -p "$out/parts"
count=0 # number of parts so far

# part NAME LIMIT_SEC FILE COMMAND...: run COMMAND if FILE exists; log, seconds and exit code in OUT.
part() {
  local name=$1 limit=$2 file=$3 began=$SECONDS status=missing
  shift 3
  local left=$((deadline - SECONDS))
  if [ -e "$file" ]; then
    status=127
    if [ "$left" -gt 5 ]; then
      echo "== $name"
      timeout --kill-after=5 "$((limit < left ? limit : left))" "$@" 2>&1 | tee "$out/parts/$name.log"
      status=${PIPESTATUS[0]}
    fi
  fi
  count=$((count + 1))
  echo "$count $status $((SECONDS - began))" >"$out/parts/$name.status"
}

step() { # SIDE BATCH LIMIT_SEC: a training step at NVIDIA's sizes, published formulation and ours
  part "step$1" "$3" benchmarks/train_step.py "$python" benchmarks/train_step.py --device cuda \
    --img-size "$1" --batch "$2" --channel-base "$4" --discriminator-channel-base "$4" \
    --channel-max 512 --latent 512 --mapping-layers 8 --pl-weight 2 --rounds 3 --steps 3 \
    --variants reference published ours compiled-ops float32 bfloat16 compile \
    --json "$out/parts/step$1.json"
}

part tests 150 tests "$python" -m pytest -q -m gpu -p no:cacheprovider tests
part ops 100 benchmarks/ops.py "$python" benchmarks/ops.py --device cuda --rounds 15 \
  --dtype float16 float32 --json "$out/parts/ops.json"
step 256 32 150 16384
step 512 16 150 32768
part drag 60 edit.py "$python" edit.py bench drag --n 2 --only "wheels, free" --out "$out/drag"
part drag_step 120 benchmarks/drag_step.py "$python" benchmarks/drag_step.py --device cuda \
  --clock wall --sizes 512 1024 --steps 20 --b64 --json "$out/parts/drag_step.json"
part load 60 benchmarks/load_model.py "$python" benchmarks/load_model.py

"$python" benchmarks/collect.py "$out"
