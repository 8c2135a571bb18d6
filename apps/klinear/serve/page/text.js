/** What models write, shown: paragraphs, fenced code, lists, `code`, **bold**.  Builds nodes, never markup. */
import { el } from "./dom.js";

function inline(text) {
    const parts = [];
    for (const piece of text.split(/(`[^`\n]+`|\*\*[^*\n]+\*\*)/)) {
        if (piece.length > 2 && piece.startsWith("`")) parts.push(el("code", {}, piece.slice(1, -1)));
        else if (piece.length > 4 && piece.startsWith("**")) parts.push(el("strong", {}, piece.slice(2, -2)));
        else if (piece) parts.push(piece);
    }
    return parts;
}

function block(text) {
    const lines = text.split("\n");
    const marker = /^\s*(?:[-*]|\d+[.)])\s+/;
    if (lines.length > 1 && lines.every((line) => marker.test(line))) {
        const kind = /^\s*\d/.test(lines[0]) ? "ol" : "ul";
        return el(kind, {}, ...lines.map((line) => el("li", {}, ...inline(line.replace(marker, "")))));
    }
    return el("p", {}, ...inline(text));
}

export function shown(text) {
    const out = [];
    for (const [i, part] of text.split(/^```[^\n]*$/m).entries()) {
        if (i % 2) out.push(el("pre", { tabIndex: 0 }, el("code", {}, part.replace(/^\n|\n$/g, ""))));
        else for (const piece of part.split(/\n{2,}/)) if (piece.trim()) out.push(block(piece.replace(/^\n+|\n+$/g, "")));
    }
    return out;
}
