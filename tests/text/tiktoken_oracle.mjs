// Compares klinear's tokenizer with tiktoken's own core, on random text of many scripts, broken UTF-8 and long runs.
//   npm install tiktoken@1.0.22
//   node tiktoken_oracle.mjs ENCODE_FILE [MEGABYTES [SEED]]
// run in the folder of the package, or with KLINEAR_TIKTOKEN naming it.  The vocabulary has the true size: the first
// 163,584 ranks of o200k_base.  Exit 77: the package is missing.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";

const [, , program, megabytes = "4", seed = "1"] = process.argv;
const require = createRequire((process.env.KLINEAR_TIKTOKEN ?? process.cwd()) + "/");
let Tiktoken, base;
try {
  ({ Tiktoken } = require("tiktoken"));
  base = require("tiktoken/encoders/o200k_base.json");
} catch {
  console.log("skipped: node cannot find the package tiktoken; npm install tiktoken@1.0.22, KLINEAR_TIKTOKEN=FOLDER");
  process.exit(77);
}

// ---- the reference: docs/tokenizer.md has the pattern and the limits
const word = String.raw`\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]`, prefix = String.raw`[^\r\n\p{L}\p{N}]?`;
const endings = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?";
const pattern = [
  String.raw`[\p{Han}]+`,
  String.raw`${prefix}[\p{Lu}\p{Lt}${word}]*[\p{Ll}${word}]+${endings}`,
  String.raw`${prefix}[\p{Lu}\p{Lt}${word}]+[\p{Ll}${word}]*${endings}`,
  String.raw`\p{N}{1,3}`,
  String.raw` ?[^\s\p{L}\p{N}]+[\r\n]*`,
  String.raw`\s*[\r\n]+`,
  String.raw`\s+(?!\S)`,
  String.raw`\s+`,
].join("|");
const N = 163584, BLOCK = 400000, RUN = 25000;
const ranks = [];
for (const line of base.bpe_ranks.split("\n").filter(Boolean)) {
  const [, offset, ...tokens] = line.split(" ");
  tokens.forEach((t, i) => { ranks[Number(offset) + i] = t; });
}
const table = ranks.slice(0, N);
const named = { 0: "[BOS]", 1: "[EOS]", 2: "<|im_end|>", 3: "<|im_user|>", 4: "<|im_assistant|>", 6: "<|start_header_id|>",
  7: "<|end_header_id|>", 9: "[EOT]", 10: "<|im_system|>", 11: "<|tool_calls_section_begin|>",
  12: "<|tool_calls_section_end|>", 13: "<|tool_call_begin|>", 14: "<|tool_call_argument_begin|>",
  15: "<|tool_call_end|>", 17: "<|im_middle|>", 254: "[UNK]", 255: "[PAD]" };
const special = {};
for (let i = 0; i < 256; i++) special[named[i] ?? `<|reserved_token_${N + i}|>`] = N + i;
const encoder = new Tiktoken("! 0 " + table.join(" "), special, pattern);

// What Python's str.isspace() says.
const isSpace = c => /[\s\x1c-\x1f\x85]/u.test(c) && c !== "\ufeff";
function* slices(text) {
  const all = Array.from(text);
  for (let at = 0; at < all.length; at += BLOCK) {
    const s = all.slice(at, at + BLOCK);
    let run = 0, space = isSpace(s[0]), start = 0;
    for (let i = 0; i < s.length; i++) {
      if (isSpace(s[i]) !== space) { run = 1; space = !space; }
      else if (++run > RUN) { yield s.slice(start, i).join(""); start = i; run = 1; }
    }
    yield s.slice(start).join("");
  }
}
function reference(bytes) {
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes), plain = [], marked = [];
  for (const s of slices(text)) {
    plain.push(encoder.encode_ordinary(s).join(" "));
    marked.push(encoder.encode(s, "all").join(" "));
  }
  return [plain.filter(Boolean).join(" "), marked.filter(Boolean).join(" ")];
}

// ---- texts
let state = BigInt(seed);
function random(n) { // splitmix64
  state = (state + 0x9e3779b97f4a7c15n) & 0xffffffffffffffffn;
  let z = state;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & 0xffffffffffffffffn;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & 0xffffffffffffffffn;
  return Number((z ^ (z >> 31n)) >> 11n) % n;
}
const pick = list => list[random(list.length)];
const words = ("the The THE cat's I'll don'T we've they'RE it\u2019s camelCase HTTPServer iPhone e\u0301te\u0301 na\u00efve " +
  "12345 3.14 0x1F $9 C++ // /* */ != ... --- \u4e2d\u6587 \u6f22\u5b57\u30c6\u30b9\u30c8 \u3005\u3007 \u2e80 \u3021\u3022 " +
  "\u0430\u0431\u0412\u0413 \u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd \u0e44\u0e17\u0e22 \uc548\ub155 " +
  "\u{1F468}\u200d\u{1F469} \u{1F44D}\u{1F3FD} 's 'S '\u017f 'll 'LL 've \u01c5 \u02b0 \u00aa \u2160 \u00bd \u0660\u0661").split(" ");
const spaces = [" ", " ", " ", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n ", "\u00a0", "\u3000", "\u2028", "\u0085", "\x1c", ""];
const ranges = [[0, 0x7f], [0, 0x7f], [0x80, 0x24f], [0x300, 0x5ff], [0x900, 0xdff], [0xe00, 0x1fff], [0x2000, 0x2fff],
  [0x3000, 0x30ff], [0x3400, 0x9fff], [0xa000, 0xd7ff], [0xf900, 0xffff], [0x10000, 0x1ffff], [0x20000, 0x33fff], [0, 0x10ffff]];
const character = () => {
  const [low, high] = pick(ranges), c = low + random(high - low + 1);
  return c >= 0xd800 && c <= 0xdfff ? "?" : String.fromCodePoint(c);
};
const repeat = (n, f) => Array.from({ length: n }, f).join("");
const kinds = {
  words: n => repeat(n, () => pick(words) + pick(spaces)),
  scripts: n => repeat(n, character),
  runs: n => repeat(n / 16 | 0, () => pick([...words, ...spaces, character()]).repeat(1 + random(20))),
  marked: n => repeat(n, () => pick([pick(words), pick(Object.keys(special)), pick(Object.keys(special)).slice(0, 9), pick(spaces)])),
};
function text() {
  const kind = pick(Object.keys(kinds)), bytes = Buffer.from(kinds[kind](1 + random(400)));
  if (random(3) === 0) // broken UTF-8: bytes replaced, the end cut
    for (let i = random(8); i >= 0 && bytes.length; i--) bytes[random(bytes.length)] = random(256);
  return random(8) ? bytes : bytes.subarray(0, random(bytes.length + 1));
}
// No longer words than these: tiktoken takes the square of their length.
const long = [
  "a".repeat(25003), " ".repeat(60000), "\n".repeat(51000), "\u4e2d".repeat(25010), "ab ".repeat(150000),
  "a".repeat(3) + " " + "b ".repeat(40000) + "c".repeat(3), " \n".repeat(30000) + "x", "!".repeat(25001) + "a",
  "\x1c!".repeat(9000), "x ".repeat(199995) + " the end of a block", "e\u00e9 ".repeat(140000), "\t ".repeat(12501) + "a",
  "\u{1F600}".repeat(3000), "Ab".repeat(20000), "1".repeat(70000), "<|im_end|>".repeat(9000), "\u3000".repeat(25001) + "\x1f",
  "ABC ".repeat(100001) + "x".repeat(2600), "12 <|im_user|>".repeat(30000), "\r\n".repeat(13000) + "a", "\ufeff a\ufeff",
].map(s => Buffer.from(s)).concat([Buffer.alloc(26000, 0xff), Buffer.alloc(50001, "\u00e9 \xf0"), Buffer.alloc(0)]);

// ---- the comparison
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "klinear-oracle-"));
try {
  fs.writeFileSync(`${folder}/tiktoken.model`, table.map((t, i) => `${t} ${i}\n`).join(""));
  const texts = [...long];
  for (let bytes = 0; bytes < Number(megabytes) * 1e6; bytes += texts.at(-1).length) texts.push(text());
  const size = Buffer.alloc(4), out = fs.openSync(`${folder}/texts`, "w");
  for (const t of texts) { size.writeUInt32LE(t.length); fs.writeSync(out, size); fs.writeSync(out, t); }
  fs.closeSync(out);
  const lines = execFileSync(program, [folder, `${folder}/texts`], { maxBuffer: 1 << 30 }).toString().split("\n");
  let wrong = 0, ids = 0;
  texts.forEach((t, i) => reference(t).forEach((wanted, mode) => {
    ids += wanted.length ? wanted.split(" ").length : 0;
    if (lines[2 * i + mode] === wanted || ++wrong > 10) return;
    const a = lines[2 * i + mode].split(" "), b = wanted.split(" "), at = a.findIndex((x, j) => x !== b[j]);
    console.log(`text ${i}, ${t.length} bytes, ${mode ? "marked" : "plain"}: id ${at} of ${b.length}: klinear ${
      a.slice(at, at + 6)}, tiktoken ${b.slice(at, at + 6)}; ${JSON.stringify(t.subarray(0, 200).toString())}`);
  }));
  console.log(`${texts.length} texts, ${ids} ids compared with tiktoken: ${wrong} texts differ (seed ${seed})`);
  process.exitCode = wrong ? 1 : 0;
} finally { fs.rmSync(folder, { recursive: true }); }
