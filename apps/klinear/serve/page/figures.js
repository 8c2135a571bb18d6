/** Figures of the memory view: data in, an SVG group out.  Colours are given, so that what is saved looks the same
 *  wherever it is opened. */
import { bytes, number, svg } from "./dom.js";

export const WIDTH = 560;
const LEFT = 84;

const text = (p, x, y, words, more = {}) =>
    svg("text", { x, y, fill: p.quiet, "font-size": 11, "font-family": "system-ui, sans-serif", ...more }, words);
const rect = (x, y, width, height, fill, more = {}) => svg("rect", { x, y, width: Math.max(0, width), height, fill, ...more });
const line = (x1, y1, x2, y2, stroke, more = {}) => svg("line", { x1, y1, x2, y2, stroke, ...more });

/** Tokens as people say them: 0.3, 12, 4.5K, 1M. */
export function span(n) {
    if (n >= 1e6) return `${+(n / 1e6).toPrecision(2)}M`;
    if (n >= 1e3) return `${+(n / 1e3).toPrecision(2)}K`;
    return String(+n.toPrecision(2));
}

/* ---- bytes */

export function latentsOf(memory, tokens) {
    return Math.ceil(tokens / 64) * memory.page_bytes;
}

/** From how many tokens on the fixed states and the latents take less than a full cache. */
export function crossing(memory) {
    const each = memory.full_token_bytes - memory.page_bytes / 64;
    return each > 0 ? Math.ceil(memory.recurrent_bytes / each) : Infinity;
}

export function growth(p, memory, tokens) {
    const g = svg("g"), top = 14, height = 150, bottom = top + height, right = WIDTH - 92;
    const cross = crossing(memory);
    const most = Math.max(tokens * 1.5, Math.min(cross, 1e7) * 2.2, 64);
    const own = (n) => memory.recurrent_bytes + latentsOf(memory, n), full = (n) => n * memory.full_token_bytes;
    let crossed = [];
    const highest = Math.max(own(most), full(most));
    const x = (n) => LEFT + (n / most) * (right - LEFT), y = (b) => bottom - (b / highest) * height;
    for (let i = 0; i <= 2; i++) {
        const at = (highest * i) / 2;
        g.append(line(LEFT, y(at), right, y(at), p.line), text(p, LEFT - 8, y(at) + 4, at ? bytes(at) : "0", { "text-anchor": "end" }));
    }
    g.append(svg("path", { d: `M${x(0)} ${y(full(0))}L${x(most)} ${y(full(most))}`, stroke: p.full, "stroke-width": 2.5, fill: "none" }),
        svg("path", { d: `M${x(0)} ${y(memory.recurrent_bytes)}L${x(most)} ${y(own(most))}`, stroke: p.forget, "stroke-width": 2.5, fill: "none" }),
        svg("path", { d: `M${x(0)} ${y(memory.recurrent_bytes)}L${x(most)} ${y(memory.recurrent_bytes)}`, stroke: p.forget, "stroke-width": 1.2, "stroke-dasharray": "3 3", fill: "none" }),
        text(p, right + 6, y(full(most)) + 4, "full cache", { fill: p.full, "font-weight": 600 }),
        text(p, right + 6, y(own(most)) + 4, "this model", { fill: p.forget, "font-weight": 600 }));
    if (cross < most) {
        const label = { fill: p.ink, stroke: p.paper, "stroke-width": 5, "paint-order": "stroke", "text-anchor": x(cross) > LEFT + 190 ? "end" : "start" };
        const at = x(cross) > LEFT + 190 ? [x(cross) - 10, y(own(cross)) - 8] : [x(cross) + 64, y(own(cross)) - 12];
        crossed = [text(p, ...at, `less from ${span(cross)} tokens on`, label)];
        g.append(svg("circle", { cx: x(cross), cy: y(full(cross)), r: 4, fill: p.paper, stroke: p.ink, "stroke-width": 1.5 }));
    }
    if (tokens) {
        g.append(line(x(tokens), top, x(tokens), bottom, p.ink, { "stroke-width": 1, "stroke-dasharray": "2 3" }),
            text(p, x(tokens), top - 4, `now: ${number(tokens)}`, { "text-anchor": tokens > most * 0.8 ? "end" : "middle", fill: p.ink }));
    }
    g.append(...crossed);
    for (const n of [0, most / 2, most]) g.append(text(p, x(n), bottom + 16, n ? span(n) : "0", { "text-anchor": "middle" }));
    g.append(text(p, (LEFT + right) / 2, bottom + 31, "tokens", { "text-anchor": "middle" }));
    return { g, height: bottom + 38 };
}

/* ---- half-lives */

const FROM = -4, TO = 20; /* octaves */

const rowHeight = (heads) => (heads <= 4 ? 24 : heads <= 8 ? 16 : heads <= 16 ? 10 : 6);

function band(p, g, q, y, height, x, words) {
    const row = svg("g");
    const ticks = height >= 10 ? 4 : 0; /* room for those of single channels */
    const middle = y + (height - ticks) / 2, thick = Math.max(3, height - ticks - 4);
    row.append(svg("title", {}, words),
        rect(LEFT, y, WIDTH - 16 - LEFT, height, p.paper, { opacity: 0 }),
        rect(x(q[0]), middle - thick / 4, x(q[4]) - x(q[0]), thick / 2, p.forget, { opacity: 0.28, rx: thick / 4 }),
        rect(x(q[1]), middle - thick / 2, x(q[3]) - x(q[1]), thick, p.forget, { opacity: 0.55, rx: Math.min(4, thick / 2) }),
        rect(x(q[2]) - 1.25, middle - thick / 2, 2.5, thick, p.ink));
    g.append(row);
}

/** Each channel's own half-life, as a tick under its head's band. */
function rug(p, g, channels, y, height, x) {
    const d = channels.filter((h) => h > 0).map((h) => `M${x(h).toFixed(1)} ${y + height - 4.5}v3.5`).join("");
    g.append(svg("path", { d, stroke: p.forget, "stroke-width": 0.8, opacity: 0.75 }));
}

export function halfLives(p, layers, tokens) {
    const g = svg("g");
    const x = (n) => LEFT + ((Math.min(TO, Math.max(FROM, Math.log2(n || 1e-9))) - FROM) / (TO - FROM)) * (WIDTH - 16 - LEFT);
    const back = svg("g");
    g.append(back);
    let y = 24;
    for (const [i, layer] of layers.entries()) {
        const rows = layer.decay?.half_life;
        const height = rows ? rowHeight(rows.length) : 16;
        const all = rows ? rows.length * height : height;
        g.append(text(p, LEFT - 10, y + all / 2 + 4, `layer ${i} ${layer.mixer}`, { "text-anchor": "end" }));
        if (rows) {
            for (const [h, q] of rows.entries()) {
                band(p, g, q, y + h * height, height, x,
                    `Layer ${i}, head ${h}: half of the decays have half-lives of ${span(q[1])} to ${span(q[3])} tokens, the median is ${span(q[2])}`);
                if (layer.decay.channels && height >= 10) rug(p, g, layer.decay.channels[h], y + h * height, height, x);
            }
        } else {
            g.append(rect(LEFT, y + 3, WIDTH - 16 - LEFT, height - 6, layer.mixer === "mla" ? p.looked : p.line, { opacity: 0.35, rx: 4 }),
                text(p, LEFT + 8, y + 12, layer.mixer === "mla" ? "attention: looks back at every token" : "forgets nothing", { "font-size": 10, fill: p.ink }));
        }
        y += all + 10;
    }
    for (const n of [1, 10, 100, 1e3, 1e4, 1e5, 1e6])
        back.append(line(x(n), 18, x(n), y, p.line), text(p, x(n), 12, span(n), { "text-anchor": "middle" }));
    if (tokens > 1) {
        back.append(line(x(tokens), 18, x(tokens), y, p.ink, { "stroke-dasharray": "2 3" }));
        g.append(text(p, x(tokens), y + 11, "this text", { "text-anchor": "middle", fill: p.ink }));
    }
    g.append(text(p, WIDTH - 16, y + 11, "half-life, tokens", { "text-anchor": "end" }));
    return { g, height: y + 18 };
}

/* ---- experts */

export function experts(p, layers) {
    const g = svg("g");
    let y = 6;
    for (const [i, layer] of layers.entries()) {
        if (!layer.experts) continue;
        const { count } = layer.experts, all = count.reduce((a, b) => a + b, 0) || 1, most = Math.max(...count, 1);
        const wide = (WIDTH - 16 - LEFT) / count.length, height = 34, gap = count.length > 64 ? 0.5 : 2;
        g.append(text(p, LEFT - 10, y + height / 2 + 4, `layer ${i}`, { "text-anchor": "end" }));
        for (const [e, n] of count.entries()) {
            const tall = Math.max(1, (n / most) * height);
            g.append(svg("g", {}, svg("title", {}, `Layer ${i}, expert ${e}: ${((100 * n) / all).toFixed(1)} % of all choices`),
                rect(LEFT + e * wide + gap / 2, y, wide - gap, height, p.line, { opacity: 0.35, rx: 2 }),
                rect(LEFT + e * wide + gap / 2, y + height - tall, wide - gap, tall, p.forget, { opacity: 0.35 + (0.6 * n) / most, rx: 2 })));
        }
        const even = y + height - (all / count.length / most) * height;
        g.append(line(LEFT, even, WIDTH - 16, even, p.ink, { "stroke-dasharray": "2 3", opacity: 0.6 }));
        y += height + 8;
    }
    return { g, height: y };
}

/* ---- tokens, for what is saved: on the page they are text */

export function tokens(p, texts, weights, hue) {
    const g = svg("g"), wide = 6.65, lineHeight = 19, columns = Math.floor(WIDTH / wide);
    let column = 0, y = 14;
    for (const [i, token] of texts.entries())
        for (const [k, piece] of token.split("\n").entries()) {
            if (k || column + piece.length > columns) {
                column = 0;
                y += lineHeight;
            }
            if (!piece) continue;
            if (weights[i] > 0) g.append(rect(column * wide, y - 12, piece.length * wide, 16, hue, { opacity: weights[i].toFixed(3), rx: 2 }));
            g.append(svg("text", { x: column * wide, y, fill: p.ink, "font-size": 11, "xml:space": "preserve",
                "font-family": "ui-monospace, Menlo, Consolas, monospace", textLength: piece.length * wide, lengthAdjust: "spacingAndGlyphs" }, piece));
            column += piece.length;
        }
    return { g, height: y + 10 };
}
