# count_tests.py must count kernel rows, and must not take a run without passes for a good one.
. "$(dirname "$0")/lib.sh"

suite() { # TESTCASES...: writes $tree/tests.xml
    { echo '<?xml version="1.0"?><testsuite>'; printf '%s\n' "$@"; echo '</testsuite>'; } | plant tests.xml
}
case_of() { # NAME STATUS [OUTPUT] [CHILD]
    printf '<testcase name="%s" status="%s">%s<system-out>%s</system-out></testcase>' "$1" "$2" "${4:-}" "${3:-}"
}
says() { # EXIT LAST_LINE
    local said code
    said=$("$tools/count_tests.py" "$tree/tests.xml")
    code=$?
    said=${said##*$'\n'}
    [ "$code $said" = "$1 $2" ] || { echo "FAILED: expected $1 $2, got $code $said"; exit 1; }
}
good=$(case_of unit/a run) rows=$(case_of kernels/all run "ok
12 passed, 0 failed
")
suite "$good" "$rows"
says 0 "13 passed, 0 failed"
suite "$good" "$(case_of unit/b fail '' '<failure message=""/>')"
says 1 "1 passed, 1 failed"
suite "$good" "$(case_of kernels/all fail '12 passed, 3 failed' '<failure message=""/>')"
says 1 "13 passed, 3 failed"
suite "$good" "$(case_of kernels/all fail '12 passed, 0 failed' '<failure message=""/>')"
says 1 "13 passed, 1 failed"
suite "$good" "$(case_of kernels/all fail '' '<failure message=""/>')"
says 1 "1 passed, 1 failed"
suite "$good" "$(case_of unit/c notrun '' '<skipped message=""/>')"
says 1 "1 passed, 1 failed"
suite "$good" "$(case_of apps/d notrun '' '<skipped message="SKIP_RETURN_CODE=77"/>')"
says 0 "1 passed, 0 failed"
suite
says 1 "0 passed, 0 failed"
