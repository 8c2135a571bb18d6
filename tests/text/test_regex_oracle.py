#!/usr/bin/env python3
"""The pre-tokeniser against the published expression in Python's module regex.
    usage: test_regex_oracle.py PIECES_FILE [TEXTS [SEED]]      77: skipped, the module is missing

Only characters that both Unicode versions know are used: those that Python's own, older tables have assigned."""
import random
import struct
import subprocess
import sys
import tempfile
import unicodedata

try:
    import regex
except ImportError:
    print("skipped: Python has no module regex (apt-get install python3-regex, or pip install regex)")
    sys.exit(77)

PREFIX, ENDING = r"[^\r\n\p{L}\p{N}]?", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
UPPER, LOWER = r"[[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]--\p{Han}]", r"[[\p{Ll}\p{Lm}\p{Lo}\p{M}]--\p{Han}]"
PATTERN = regex.compile("(?V1)" + "|".join([
    r"\p{Han}+", f"{PREFIX}{UPPER}*{LOWER}+{ENDING}", f"{PREFIX}{UPPER}+{LOWER}*{ENDING}", r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"]))
ENDINGS = ["'s", "'T", "'re", "'VE", "'m", "'lL", "'d", "'\u017f", "'x", "\u2019s"]
SPACES = [" ", " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\x85", "\x1c", "\x0b", "\u200b"]


def assigned():
    """Characters by category, so that rare categories come as often as common ones; and some of Han."""
    by = {}
    for c in range(0x110000):
        kind = unicodedata.category(chr(c))
        if kind not in ("Cn", "Cs", "Co"):
            by.setdefault(kind, []).append(chr(c))
    by["Han"] = [c for c in (chr(c) for c in range(0x2E80, 0x32000)) if regex.match(r"\p{Han}", c)
                 and unicodedata.category(c) != "Cn"]
    return list(by.values())


def draw(r, kinds):
    parts = []
    for _ in range(r.randrange(1, 40)):
        what = r.random()
        if what < 0.15:
            parts.append(r.choice(ENDINGS))
        elif what < 0.35:
            parts.append(r.choice(SPACES) * r.choice([1, 1, 1, 2, 5]))
        elif what < 0.55:
            parts.append("".join(r.choice("abcABC019'!. ") for _ in range(r.randrange(1, 8))))
        else:
            parts.append("".join(r.choice(r.choice(kinds)) for _ in range(r.randrange(1, 5))))
    return "".join(parts)


def main():
    program, n_text, seed = sys.argv[1], int((sys.argv + ["", "20000"])[2] or 20000), (sys.argv + ["", "", "1"])[3]
    r, kinds = random.Random(int(seed or 1)), assigned()
    texts = [draw(r, kinds) for _ in range(n_text)] + ["".join(map(chr, [*range(0xD800), *range(0xE000, 0xF900)]))]
    texts[-1] = "".join(c for c in texts[-1] if unicodedata.category(c) not in ("Cn", "Co"))
    with tempfile.NamedTemporaryFile() as file:
        for t in texts:
            data = t.encode()
            file.write(struct.pack("<I", len(data)) + data)
        file.flush()
        lines = subprocess.run([program, file.name], check=True, stdout=subprocess.PIPE).stdout.decode().split("\n")
    wrong = pieces = 0
    for t, line in zip(texts, lines):
        wanted = [len(m.group().encode()) for m in PATTERN.finditer(t)]
        pieces += len(wanted)
        if wanted != [int(n) for n in line.split()]:
            wrong += 1
            if wrong <= 5:
                print(f"differs: {ascii(t)}\n  klinear {line}\n  regex   {' '.join(map(str, wanted))}")
    print(f"{len(texts)} texts, {pieces} pieces compared with the module regex: {wrong} texts differ")
    sys.exit(1 if wrong else 0)


main()
