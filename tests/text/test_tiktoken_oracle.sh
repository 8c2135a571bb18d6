#!/usr/bin/env bash
# usage: test_tiktoken_oracle.sh ENCODE_FILE [MEGABYTES [SEED]]
# The tokenizer against tiktoken's own core.  Needs node and npm's package tiktoken (1.0.22), in the folder that
# KLINEAR_TIKTOKEN names, or in the present one.  77: skipped.
set -u
if ! command -v node >/dev/null; then
    echo "skipped: there is no node"
    exit 77
fi
exec node "$(dirname "$0")/tiktoken_oracle.mjs" "$@"
