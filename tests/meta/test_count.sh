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
rm "$tree/tests.xml" # a run that did not come to its end
says 1 "0 passed, 1 failed"
echo '<?xml version="1.0"?><testsuite>' | plant tests.xml
says 1 "0 passed, 1 failed"

# make test counts its own run in a folder with a space, and no older one where ctest did not write.
folder="$tree/a folder"
plant "a folder/tools/bootstrap.sh" </dev/null
cp "$tools/count_tests.py" "$folder/tools/"
cp "$tools/../Makefile" "$folder/"
mkdir -p "$folder/build/release" "$tree/bin"
plant bin/cmake </dev/null
plant bin/ctest <<'END'
#!/bin/sh
while [ $# -gt 0 ] && [ "$1" != --output-junit ]; do shift; done
[ -z "$STANDS_STILL" ] || exit 1
echo '<testsuite><testcase name="unit/a" status="run"/></testsuite>' >"$2"
END
chmod +x "$folder/tools/bootstrap.sh" "$tree/bin/cmake" "$tree/bin/ctest"
make_says() { # STANDS_STILL LAST_LINE
    local said
    said=$(PATH=$tree/bin:$PATH STANDS_STILL=$1 MAKEFLAGS= make -C "$folder" test 2>/dev/null)
    said=$(grep 'passed' <<<"$said")
    [ "$said" = "$2" ] || { echo "FAILED: make test: expected $2, got $said"; exit 1; }
}
make_says "" "1 passed, 0 failed"
make_says 1 "0 passed, 1 failed"
