# Files from a script that writes them as another engine expects them: they load, run, and agree with the float64 model.
#
#     test_peers.sh PROGRAM          the smallest preset, every type
#     test_peers.sh PROGRAM small    a larger one, two types
#     test_peers.sh PROGRAM rival    that engine's own logits
. "$(dirname "$0")/lib.sh"

# A file that lies beside the repository, or is named in the environment.
beside() { # VARIABLE PATH
    local named=${!1-} root=$tools/.. at
    for at in "$named" "$root/../$2" "$root/../../$2"; do
        [ -z "$at" ] || [ ! -f "$at" ] || { echo "$at"; return; }
    done
    echo "skipped: no $2 beside the repository, and none named in $1" >&2
    exit 77
}
maker=$(beside KLINEAR_PEER_GGUF shared/peers/make_kimi_gguf.py) || exit 77
case ${2-tiny} in
    tiny) set -- "$1" reference tiny f32 f16 bf16 q8_0 q4_0 q4_k legacy-f32 legacy-q8_0 ;;
    small) set -- "$1" reference small q8_0 q4_k ;;
    rival) rival=$(beside KLINEAR_PEER_LOGITS rival/bin/peer-logits) || exit 77; set -- "$1" rival "$rival" ;;
esac
shift
line=check_peers.py
"$python" "$(dirname "$0")/check_peers.py" "$klinear" "$scratch" "$maker" "$@" >"$out" 2>"$err"
code=$?
cat "$out"
expect_code 0
expect_err ""
