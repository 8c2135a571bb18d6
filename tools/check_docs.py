#!/usr/bin/env python3
"""What the documentation points at is there.   usage: tools/check_docs.py [ROOT]

  - every relative link in a .md file leads to a file or folder;
  - every docs/<name>.md named in a source or header exists;
  - every promise [T: room/name] in a header names a test: tests/<room>/test_<name>.c, case_<name>.c, check_<name>.c or
    test_<name>.sh; ops/<name>_golden is tests/golden/run_<name>.c."""
import pathlib
import re
import sys

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
DOC = re.compile(r"\bdocs/[\w./-]+\.md\b")
PROMISE = re.compile(r"\[T: ([^\]]+)\]")
CODE = {".c", ".h", ".def", ".py", ".sh"}


def files(root):
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_file() and not {"build", ".git", "meta"} & set(parts):  # meta/ plants what is not there
            yield path, "/".join(parts)


def test_exists(root, name):
    room, _, test = name.partition("/")
    if room == "ops" and test.endswith("_golden"):
        return (root / "tests/golden" / f"run_{test[:-len('_golden')]}.c").exists()
    names = (f"test_{test}.c", f"case_{test}.c", f"check_{test}.c", f"test_{test}.sh")
    return any((root / "tests" / room / file).exists() for file in names)


def problems_of(root, path, name):
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if path.suffix == ".md":
            for target in LINK.findall(line):
                if "://" not in target and not target.startswith("mailto:") and not (path.parent / target).exists():
                    yield f"{name}:{number}: leads nowhere: {target}"
        elif path.suffix in CODE:
            for target in DOC.findall(line):
                if not (root / target).exists():
                    yield f"{name}:{number}: there is no {target}"
        if path.suffix == ".h":
            for promise in PROMISE.findall(line):
                for test in re.split(r"[,\s]+", promise):
                    if test != "name" and not test_exists(root, test):
                        yield f"{name}:{number}: no test is called {test}"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    problems = [p for path, name in files(root) for p in problems_of(root, path, name)]
    print("\n".join(problems) if problems else "docs: fine")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
