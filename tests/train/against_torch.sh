#!/usr/bin/env bash
# A training step of the released architecture in small, against the same in PyTorch.   usage: against_torch.sh PROBE
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../model/lib.sh"
"$python" -c "import torch" 2>/dev/null || { echo "skipped: no PyTorch here (Debian: python3-torch)"; exit 77; }
"$python" "$here/../../tools/torch_step.py" "$1" "$here/torch_config.json" --sequences 3 --length 160
