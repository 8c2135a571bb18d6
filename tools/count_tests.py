#!/usr/bin/env python3
"""Counts a run of ctest: usage: tools/count_tests.py JUNIT.xml

Prints the tests that failed, then "N passed, N failed": the tests of ctest, with the kernel checker counted by its rows
(one for each variant of each kernel), as its own last line gives them.  A test that said itself that this machine lacks
what it needs is listed as skipped and counts as neither; one that could not be started has failed.  Exits 1 when
anything failed or nothing ran."""
import re
import sys
import xml.etree.ElementTree as ElementTree

ROWS = re.compile(r"^(\d+) passed, (\d+) failed$", re.MULTILINE)


def count(suite, complain):
    passed = failed = 0
    for case in suite.iter("testcase"):
        name, status = case.get("name"), case.get("status")
        skipped = case.find("skipped")
        if status == "disabled" or (skipped is not None and "SKIP_RETURN_CODE" in skipped.get("message", "")):
            complain(f"skipped: {name}")
            continue
        good = status == "run" and case.find("failure") is None and skipped is None
        if not good:
            complain(f"failed: {name} ({status})")
        rows = ROWS.findall(case.findtext("system-out") or "") if name.startswith("kernels/") else []
        if rows:
            passed += int(rows[-1][0])
            failed += int(rows[-1][1])
            failed += not good and int(rows[-1][1]) == 0
        else:
            passed += good
            failed += not good
    return passed, failed


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    complaints = []
    try:
        passed, failed = count(ElementTree.parse(sys.argv[1]).getroot(), complaints.append)
    except (OSError, ElementTree.ParseError) as why:  # ctest did not come to its end
        complaints.append(f"failed: the run: {why}")
        passed, failed = 0, 1
    print("\n".join(complaints + [f"{passed} passed, {failed} failed"]))
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
