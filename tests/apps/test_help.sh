# klinear help --man and --completion: the same tables, in the forms that man and the shells read.
. "$(dirname "$0")/lib.sh"

verbs() { # those that help lists, one a line
    "$klinear" help | sed -n '/^Verbs:/,/^$/s/^  \([a-z]\+\( [a-z]\+\)\?\)  .*/\1/p'
}
options() { # of a verb: long names
    "$klinear" help $1 | grep -oE '^  (-[A-Za-z], )?--[a-zA-Z-]+' | grep -oE '[a-zA-Z]+[a-zA-Z-]*$' | grep -v '^h$'
}

# The man page: every verb, every option, nothing that man would warn about.
run help --man
expect_code 0
expect_err ""
cp "$out" "$scratch/klinear.1"
while read -r verb; do
    expect_in_out ".SS klinear $verb"
    for option in $(options "$verb"); do
        [ "$option" = help ] || grep -qF -- "\\-\\-${option//-/\\-}" "$out" || fail "expected --$option of $verb"
    done
done < <(verbs)
if command -v man >/dev/null; then
    line="help --man | man -l"
    MANWIDTH=80 man --warnings -l "$scratch/klinear.1" >"$out" 2>"$err"
    expect_err ""
    expect_in_out "KLINEAR(1)"
fi

# bash: what comes after the words that were typed, the last of which is being completed.
run help --completion bash
expect_code 0
cp "$out" "$scratch/klinear.bash"
after() {
    line="bash completion of: $*"
    (
        . "$scratch/klinear.bash"
        cd "$scratch"
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        _klinear 2>"$err"
        printf '%s\n' "${COMPREPLY[@]}"
    ) >"$out"
    expect_err ""
}
touch "$scratch/a model.gguf"
after klinear do
expect_out doctor
after klinear ""
expect_in_out demo
expect_in_out --version
after klinear doctor --f
expect_out --fast
after klinear doctor --threads ""
expect_out ""
after klinear demo --file "$scratch/a m"
expect_out "$scratch/a model.gguf"
after klinear bench o
expect_out ops
after klinear bench ops --isa a
expect_out "avx2
avx512"
after klinear help de
expect_out demo
after klinear help --completion z
expect_out zsh
while read -r verb; do
    after klinear $verb --
    for option in $(options "$verb"); do
        expect_in_out "--$option"
    done
done < <(verbs)

# zsh and fish, where they are installed.
for shell in zsh fish; do
    run help --completion $shell
    expect_code 0
    expect_in_out bench
    command -v $shell >/dev/null || continue
    line="help --completion $shell | $shell -n"
    $shell -n "$out" 2>"$err" || fail "expected a script that $shell reads"
done
if command -v zsh >/dev/null; then
    "$klinear" help --completion zsh >"$scratch/klinear.zsh"
    line="zsh completion, sourced"
    zsh -fc "autoload -U compinit; compinit -u -d $scratch/dump; source $scratch/klinear.zsh; print \$_comps[klinear]" \
        >"$scratch/comps" 2>"$err"
    expect_err ""
    [ "$(cat "$scratch/comps")" = _klinear ] || fail "expected zsh to know who completes klinear"
fi
if command -v fish >/dev/null; then
    cp "$out" "$scratch/klinear.fish"
    line="fish completion"
    fish --no-config -c "source $scratch/klinear.fish; function klinear; end
        complete -C 'klinear bench ops --pass s'; complete -C 'klinear doctor --js'" >"$out" 2>"$err"
    expect_err ""
    [ "$(cut -f1 "$out" | paste -sd' ')" = "step --json" ] || fail "expected step, --json"
fi

run help --completion tcsh
expect_refused 'klinear help: --completion is "tcsh", expected one of: bash, zsh, fish'
run help --man doctor
expect_refused "klinear help: --man, --completion and a verb exclude each other"
run help --man --completion bash
expect_refused "klinear help: --man, --completion and a verb exclude each other"
