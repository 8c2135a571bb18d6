"""A vocabulary for small made models: the bytes in the released order, then what byte-pair merging finds in a text."""
import base64
import collections
import functools
import re

TEXT = """
A sequence is read from the left to the right, and what has been read is kept in a memory. One kind of memory keeps
everything: it grows with every word, and each new word is compared with all the words before it. The other kind has a
fixed size. It must forget something whenever it learns something, and so it has to choose well. The delta rule looks
up what the memory already says about a key, takes the difference to the new value, and writes only that difference.
With a gate for every channel, some parts of the memory fade within a few words while others last for a whole book.
Three layers of the second kind and then one of the first: the sum of both is nearly as cheap as the one and nearly as
exact as the other. "How long is the text?" asked the reader. "A million words," said the writer, "and you may start
in the middle, if you have kept the state." In 1998 there were 12 of them, in 2025 there are 4,096. The quick brown fox
jumps over the lazy dog; what doesn't it do? It's there, we're here, they'll come, I've seen it, and you'd know.
def main(arguments): return sum(x * x for x in range(10)) if arguments else None
Der Hund läuft über die Straße. Le garçon a mangé des pâtes à midi. El niño pequeño está aquí. 你好世界。こんにちは。
"""

NAMES = ["[BOS]", "[EOS]", "<|im_end|>", "<|im_user|>", "<|im_assistant|>", None, "<|start_header_id|>",
         "<|end_header_id|>", None, "[EOT]", "<|im_system|>", "<|tool_calls_section_begin|>",
         "<|tool_calls_section_end|>", "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>", None,
         "<|im_middle|>"]
N_SPECIAL = 256


def byte_order():
    """The 256 bytes as ranks 0..255: those that print first."""
    first = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return first + [b for b in range(256) if b not in first]


def words(text):
    """Pieces that no token crosses, close to the released pattern."""
    return re.findall(r" ?[^\W\d_]+|\d{1,3}| ?[^\s\w]+\n*|\s*\n+|\s+(?!\S)|\s+", text)


@functools.lru_cache
def ranks(n):
    """`n` distinct byte strings, each beyond the first 256 the two halves of which come before it."""
    tokens = [bytes([b]) for b in byte_order()]
    pieces = collections.Counter(words(TEXT))
    pieces = [([bytes([b]) for b in piece.encode()], count) for piece, count in pieces.items()]
    while len(tokens) < n:
        pairs = collections.Counter()
        for parts, count in pieces:
            for pair in zip(parts, parts[1:]):
                pairs[pair] += count
        known = set(tokens)
        fresh = [(-count, pair) for pair, count in pairs.items() if pair[0] + pair[1] not in known]
        if not fresh:
            break
        _, (a, b) = min(fresh)
        tokens.append(a + b)
        pieces = [(merged(parts, a, b), count) for parts, count in pieces]
    known = set(tokens)  # nothing is left to merge: any two tokens make another
    for i in range(len(tokens) if len(tokens) < n else 0):
        for j in range(94):
            if len(tokens) < n and tokens[i] + tokens[j] not in known:
                tokens.append(tokens[i] + tokens[j])
                known.add(tokens[-1])
    return tokens[:n]


def merged(parts, a, b):
    out = []
    for part in parts:
        if out and out[-1] == a and part == b:
            out[-1] = a + b
        else:
            out.append(part)
    return out


def tiktoken_file(n):
    return "".join(f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(ranks(n)))


def special_tokens(n_base):
    """{id: name} of the 256 slots behind `n_base` tokens."""
    names = {n_base + i: name for i, name in enumerate(NAMES) if name}
    names |= {n_base + N_SPECIAL - 2: "[UNK]", n_base + N_SPECIAL - 1: "[PAD]"}
    return {n_base + i: names.get(n_base + i, f"<|reserved_token_{n_base + i}|>") for i in range(N_SPECIAL)}
