# tools/corpus.py: what is left of headings, verse, notes and markup, and how passages are cut; no package is fetched.
set -u
cd "$(dirname "$0")/../../tools" || exit 2
PYTHONDONTWRITEBYTECODE=1 exec python3 - <<'END'
import struct, zlib
import corpus

def same(found, expected):
    assert found == expected, f"found {found!r}, expected {expected!r}"

text = ("CHAPTER II. The Pool\r\n\r\nOne day, it was _very_ still;\r\nshe sat -- alone.\r\n\r\n"
        "     There's a garden that I ken,\r\n     Full of little men;\r\n\r\n[A note of the editor.]\r\n\r\n"
        "Produced for Project Gutenberg by volunteers.\r\n\r\nTHE END\r\n\r\n\u201cCaf\u00e9,\u201d said she.\r\n")
paragraphs = [corpus.clean(block) for block in text.replace("\r", "").split("\n\n")]
same([p for p in paragraphs if p], ["One day, it was very still; she sat--alone.", '"Cafe," said she.'])
same(corpus.clean("'Don't,' said Alice, 'it's late!'", single=True), '"Don\'t," said Alice, "it\'s late!"')

long = ["a" * 2500] * 5
same([len(p) for p in corpus.passages(long)], [2, 2, 1])
same(list(corpus.passages(["short"])), [])

osis = ('<title>One</title><chapter n="1" osisID="G.1" sID="G.1"/><div sID="g1" type="x-p"/>Yahweh <w>spoke</w>.'
        '<note placement="foot">Or, said</note> He said to Yahweh,<div eID="g1" type="x-p"/>'
        '<lg sID="g2"/><l>a song</l><lg eID="g2"/><div sID="g3" type="x-p"/>and went.<div eID="g3" type="x-p"/>')
same([[p.strip() for p in c] for c in corpus.paragraphs_of_osis(osis)],
     [["The Lord spoke. He said to the Lord,", "and went."]])

packed = zlib.compress("first".encode()), zlib.compress("second".encode())
sizes = struct.pack("<6I", 0, len(packed[0]), 5, len(packed[0]), len(packed[1]), 6)
same(list(corpus.blocks_of_sword(sizes, b"".join(packed))), ["first", "second"])

lines = ["One.", "", "Two."]
vector = b"X\n" + struct.pack(">4I", 3, 0, 0, 5) + b"UTF-8" + struct.pack(">II", 16, len(lines))
vector += b"".join(struct.pack(">II", 9, len(line)) + line.encode() for line in lines)
book = struct.pack(">I", len(vector)) + zlib.compress(vector)
same(list(corpus.novels_of_r(book * 2)), ["One.\n\nTwo."] * 2)
END
