/** The memory view: what the model forgot, wrote down and looked at while it read this conversation. */
import { $, bytes, download, el, number, say, svg } from "./dom.js";
import * as figures from "./figures.js";

const KEPT = 4096; /* tokens, as the server tells them */

/** A figure of its own, to be looked at. */
function picture(label, { g, height }) {
    return svg("svg", { class: "figure", viewBox: `0 0 ${figures.WIDTH} ${Math.ceil(height)}`, role: "img", "aria-label": label }, g);
}

const mean = (list) => list.reduce((a, b) => a + b, 0) / (list.length || 1);

/** Weights of 0 to 1 out of numbers of any range; unseen ones stay null. */
function stretched(values, least = null) {
    const there = values.filter((v) => v !== null).sort((a, b) => a - b);
    const at = (q) => there[Math.min(there.length - 1, Math.floor(q * there.length))] ?? 0;
    const low = least ?? at(0.02), high = Math.max(at(0.98), low + 1e-6);
    return { low, high, weights: values.map((v) => (v === null ? null : Math.min(1, Math.max(0, (v - low) / (high - low))))) };
}

export class Memory {
    constructor({ lookNow }) {
        this.lookNow = lookNow;
        this.shown = false;
        this.all = false; /* read the whole conversation again each time */
        this.view = { what: "written", layer: "all", head: "all", from: "all" };
        this.forget();
        $("open-memory").addEventListener("click", () => this.open(!this.shown));
        $("close-memory").addEventListener("click", () => this.open(false));
        $("save-svg").addEventListener("click", () => this.saveSvg());
        $("save-csv").addEventListener("click", () => this.saveCsv());
    }

    open(shown) {
        this.shown = shown;
        this.goesOn ||= matchMedia("(max-width: 52rem)").matches; /* there it hides what one writes */
        $("memory").hidden = !shown;
        $("open-memory").setAttribute("aria-expanded", String(shown));
        document.querySelector(".columns").classList.toggle("remembering", shown);
        this.draw();
        if (shown) $("memory-body").focus();
        else $("open-memory").focus();
    }

    /** What a request asks for. */
    wish() {
        this.begins = true;
        return this.shown || this.goesOn ? { trace: this.all ? "all" : "new" } : {};
    }

    forget() {
        this.data = null;
        this.cursor = -1;
        this.draw();
    }

    /* ---- what comes in */

    /** How far the tokens are those that were there before: what was seen of them still holds. */
    same(trace) {
        const old = this.data?.ids || [];
        for (let i = trace.first; i < trace.end; i++) if (old[i] !== trace.ids[i - trace.first]) return i;
        return trace.end;
    }

    take(trace, done) {
        const before = this.begins ? this.same(trace) : trace.first;
        this.begins = false;
        const d = (this.data ||= { ids: [], texts: [], beta: [], top: [] });
        for (const list of [d.ids, d.texts, ...d.beta, ...d.top]) list.length = Math.min(list.length, before);
        trace.layers.forEach((layer, l) => {
            d.beta[l] ||= [];
            d.top[l] ||= [];
            layer.beta?.forEach((b, i) => b.length && (d.beta[l][trace.first + i] = b));
            layer.attention?.top.forEach((t, i) => t.length && (d.top[l][trace.first + i] = t));
            if (!layer.decay?.channels && !done) layer.decay && (layer.decay.channels = d.layers?.[l]?.decay?.channels);
        });
        trace.ids.forEach((id, i) => {
            d.ids[trace.first + i] = id;
            d.texts[trace.first + i] = trace.texts[i];
        });
        Object.assign(d, { layers: trace.layers, memory: trace.memory, end: trace.end, seen: trace.tokens_seen, done });
        d.first = Math.max(0, trace.end - KEPT);
        if (!this.waiting) this.waiting = requestAnimationFrame(() => ((this.waiting = 0), this.draw()));
    }

    /* ---- what is drawn */

    palette() {
        const style = getComputedStyle(document.documentElement), probe = el("i", { hidden: true });
        document.body.append(probe);
        const colour = (name) => {
            probe.style.color = style.getPropertyValue(name);
            return getComputedStyle(probe).color;
        };
        const names = ["paper", "line", "ink", "quiet", "forget", "full", "written", "looked"];
        const p = Object.fromEntries(names.map((name) => [name, colour("--" + name)]));
        probe.remove();
        return p;
    }

    draw() {
        const body = $("memory-body");
        $("save-svg").disabled = $("save-csv").disabled = !this.data;
        if (!this.shown) return body.replaceChildren();
        const scroll = body.scrollTop, inner = body.querySelector(".tokens")?.scrollTop || 0;
        if (!this.data) return body.replaceChildren(this.introduction());
        const p = this.palette();
        body.replaceChildren(this.bytesPart(p), this.tokensPart(), this.decayPart(p), this.expertsPart(p), this.choices());
        body.scrollTop = scroll;
        const strip = body.querySelector(".tokens");
        if (strip) strip.scrollTop = this.data.done ? inner : strip.scrollHeight;
    }

    introduction() {
        return el("section", {},
            el("h3", {}, "Nothing has been watched yet"),
            el("p", {}, "While this view is open, the model tells what it does with every token it reads: how fast it forgets, " +
                "what it writes down, where it looks. That begins with the next answer."),
            el("div", { class: "controls" }, el("button", { type: "button", onclick: this.lookNow }, "Look at this conversation now")),
            this.choices());
    }

    choices() {
        return el("div", { class: "controls" }, el("label", {},
            el("input", { type: "checkbox", checked: this.all, onchange: (e) => (this.all = e.target.checked) }),
            "Read the whole conversation again for each answer: slower, and every token is seen"));
    }

    bytesPart(p) {
        const { memory, end } = this.data, own = memory.recurrent_bytes + memory.latent_bytes;
        const fact = (name, value, more) => el("div", {}, el("dt", {}, name), el("dd", {}, value, more ? el("small", {}, more) : ""));
        const share = memory.full_bytes ? own / memory.full_bytes : 0;
        return el("section", {},
            el("h3", {}, "What it takes to remember"),
            el("p", {}, `The recurrent layers keep matrices of fixed size, whatever the length; only the attention layers keep something for each ` +
                `of the ${number(end)} tokens. A full cache would keep keys and values of every token in every layer.`),
            el("dl", { class: "numbers" }, fact("recurrent states", bytes(memory.recurrent_bytes), "fixed"),
                fact("attention latents", bytes(memory.latent_bytes), "grow"),
                fact("a full cache", bytes(memory.full_bytes), share ? `${share < 1 ? (1 / share).toFixed(1) + " times as much" : Math.round(100 / share) + " % of that"}` : "")),
            picture(`A full cache grows by ${bytes(memory.full_token_bytes)} for each token; this model takes less from ${figures.span(figures.crossing(memory))} tokens on.`,
                figures.growth(p, memory, end)));
    }

    decayPart(p) {
        const { layers, end, seen } = this.data;
        return el("section", {},
            el("h3", {}, "How fast it forgets"),
            el("p", {}, `Every head of a recurrent layer has a row. Each of its channels forgets at its own speed, which changes from token to token: ` +
                `the line is the median half-life, the dark band holds the middle half, the light one nine tenths, ticks are single channels. ` +
                `On the left is what holds a few words, on the right what outlives this text. Counted over the ${number(seen)} tokens read last.`),
            picture(this.decayWords(), figures.halfLives(p, layers, end)));
    }

    decayWords() {
        const parts = this.data.layers.map((layer, i) => (layer.decay
            ? `layer ${i}: median half-lives ${layer.decay.half_life.slice(0, 8).map((q) => figures.span(q[2])).join(", ")} tokens` : null));
        return "Half-lives by layer and head. " + parts.filter(Boolean).slice(0, 6).join("; ");
    }

    expertsPart(p) {
        const { layers, seen } = this.data;
        if (!layers.some((l) => l.experts)) return el("section", { hidden: true });
        const busiest = layers.map((l, i) => (l.experts ? `layer ${i}: expert ${l.experts.count.indexOf(Math.max(...l.experts.count))}` : null)).filter(Boolean);
        return el("section", {},
            el("h3", {}, "Which experts worked"),
            el("p", {}, `Each bar is an expert of a layer: how often it was chosen for the ${number(seen)} tokens read last. The dashed line is an even share.`),
            picture("Choices of experts. Busiest: " + busiest.slice(0, 8).join(", "), figures.experts(p, layers)));
    }

    /* ---- the text */

    /** What is to be shown of each kept token; null: not seen. */
    values() {
        const { beta, layers, first, end } = this.data, { layer, head, what } = this.view;
        const out = [];
        if (what === "looked") return this.looks();
        const chosen = layer === "all" ? layers.map((_, l) => l).filter((l) => layers[l].beta) : [Number(layer)];
        for (let i = first; i < end; i++) {
            const rows = chosen.map((l) => beta[l]?.[i]).filter(Boolean);
            out.push(rows.length ? mean(rows.map((r) => (head === "all" ? mean(r) : r[Number(head)] ?? 0))) : null);
        }
        return out;
    }

    /** Attention of the token that is pointed at, or of the last one. */
    looks() {
        const { layers, top, first, end } = this.data, { from } = this.view;
        const chosen = layers.map((_, l) => l).filter((l) => layers[l].attention && (from === "all" || Number(from) === l));
        const out = new Array(end - first).fill(0);
        for (const l of chosen) {
            const a = layers[l].attention, places = this.cursor >= 0 ? top[l][this.cursor] : null;
            if (places) places.forEach(([at, w]) => at >= first && (out[at - first] += w / chosen.length));
            else if (this.cursor < 0) a.weights.forEach((w, i) => a.first + i >= first && (out[a.first + i - first] += w / chosen.length));
        }
        return out;
    }

    tokensPart() {
        const { layers } = this.data, { what } = this.view, part = el("section", {});
        const select = (label, key, list) => el("label", {}, label, el("select", { onchange: (e) => {
            this.view[key] = e.target.value;
            this.draw();
            document.querySelector(`#memory-body [data-key="${key}"]`)?.focus();
        }, "data-key": key }, ...list.map(([value, name]) => el("option", { value, selected: value === this.view[key] }, name))));
        const writes = layers.map((l, i) => (l.beta ? [String(i), `${i}`] : null)).filter(Boolean);
        const attends = layers.map((l, i) => (l.attention ? [String(i), `${i}`] : null)).filter(Boolean);
        const heads = Math.max(0, ...layers.map((l) => l.decay?.half_life.length || 0));
        const kinds = [];
        if (writes.length) kinds.push(["written", "Written"]);
        if (attends.length) kinds.push(["looked", "Looked at"]);
        if (!kinds.some(([k]) => k === what) && kinds.length) this.view.what = kinds[0][0];
        const radios = kinds.map(([value, name]) => el("label", {}, el("input", { type: "radio", name: "what", value, checked: this.view.what === value,
            onchange: () => {
                this.view.what = value;
                this.draw();
                document.querySelector('#memory-body input[name="what"]:checked')?.focus();
            } }), name));
        const written = this.view.what === "written";
        const controls = written
            ? [select("layer", "layer", [["all", "all"], ...writes]), select("head", "head", [["all", "all"], ...Array.from({ length: heads }, (_, h) => [String(h), `${h}`])])]
            : [select("layer", "from", [["all", "all"], ...attends])];
        part.append(el("h3", {}, written ? "What it wrote down" : "Where it looked"),
            el("p", {}, written
                ? "The stronger the colour, the more of what the memory held about such a token was replaced by it (beta). Pale tokens passed by."
                : "The attention layers look back at the text. Coloured is what the last token looked at; point at a token that was written to see where it looked."),
            el("div", { class: "controls" }, el("span", { role: "radiogroup", "aria-label": "What is shown", class: "row" }, ...radios), ...controls));
        this.strip(part);
        return part;
    }

    strip(part) {
        const { texts, first, end } = this.data, values = this.values();
        const written = this.view.what === "written", { low, high, weights } = stretched(values, written ? null : 0);
        const spans = [];
        for (let i = first; i < end; i++) {
            const unseen = written && values[i - first] === null;
            const one = el("span", { class: (unseen ? "unseen" : "") + (i === this.cursor ? " here" : ""), "data-at": String(i) }, texts[i] ?? "");
            one.style.setProperty("--w", (weights[i - first] ?? 0).toFixed(3));
            spans.push(one);
        }
        const strip = el("div", { class: "tokens " + this.view.what, tabIndex: 0, role: "group",
            "aria-label": "The text, token by token. Arrow keys go from token to token.", "aria-describedby": "memory-detail" }, ...spans);
        const detail = el("p", { class: "detail", id: "memory-detail" }, this.words(this.cursor));
        strip.addEventListener("pointerover", (e) => e.target.dataset.at && this.point(Number(e.target.dataset.at), strip, detail));
        strip.addEventListener("pointerleave", () => this.point(-1, strip, detail));
        strip.addEventListener("keydown", (e) => {
            const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
            if (!step) return;
            e.preventDefault();
            const at = this.cursor < 0 ? end - 1 : Math.min(end - 1, Math.max(first, this.cursor + step));
            this.point(at, strip, detail);
            say(detail.textContent);
        });
        part.append(strip, el("div", { class: "controls small" },
            el("span", { class: "scale quiet" }, low.toFixed(2), el("i", {}), high.toFixed(2)),
            written && values.includes(null) ? el("span", { class: "quiet" }, "Underlined: came from the cache, not seen.") : null), detail);
        part.querySelector(".scale i").style.setProperty("--hue", `var(--${this.view.what})`);
    }

    /** Says what is known of a token, and in the view of attention shows where it looked. */
    point(at, strip, detail) {
        const d = this.data, before = this.cursor;
        this.cursor = at;
        strip.querySelector(".here")?.classList.remove("here");
        strip.querySelector(`[data-at="${at}"]`)?.classList.add("here");
        detail.textContent = this.words(at);
        if (this.view.what !== "looked" || before === at) return;
        const { weights } = stretched(this.looks(), 0);
        for (const one of strip.children) one.style.setProperty("--w", (weights[Number(one.dataset.at) - d.first] ?? 0).toFixed(3));
    }

    words(at) {
        const d = this.data;
        if (at < 0) return "Point at a token, or go there with the arrow keys.";
        const name = `Token ${at} “${(d.texts[at] || "").replace(/\n/g, "⏎")}”`;
        if (this.view.what === "looked") {
            const list = d.layers.map((_, l) => d.top[l][at]).filter(Boolean)[0];
            if (!list) return `${name}: where tokens of the prompt looked is not kept, but for the last ones.`;
            return `${name} looked at ${list.slice(0, 4).map(([p, w]) => `“${(d.texts[p] ?? "?").replace(/\n/g, "⏎")}” ${(100 * w).toFixed(0)} %`).join(", ")}.`;
        }
        const rows = d.layers.map((l, i) => (l.beta && d.beta[i][at] ? `layer ${i}: ${d.beta[i][at].slice(0, 6).map((b) => b.toFixed(2)).join(" ")}` : null)).filter(Boolean);
        return rows.length ? `${name}, beta by head. ${rows.slice(0, 6).join("; ")}` : `${name} came from the cache and was not seen.`;
    }

    /* ---- what is saved */

    saveSvg() {
        const light = document.documentElement.dataset.theme;
        document.documentElement.dataset.theme = "light"; /* paper is white */
        const p = { ...this.palette(), paper: "#ffffff" };
        if (light) document.documentElement.dataset.theme = light;
        else delete document.documentElement.dataset.theme;
        const { memory, layers, end, texts, first } = this.data, { weights } = stretched(this.values(), this.view.what === "written" ? null : 0);
        const parts = [["What it takes to remember", figures.growth(p, memory, end)],
            [this.view.what === "written" ? "What it wrote down (beta)" : "Where it looked (attention)",
                figures.tokens(p, texts.slice(first), weights.map((w) => w ?? 0), p[this.view.what])],
            ["How fast it forgets: half-life of each head's channels", figures.halfLives(p, layers, end)]];
        if (layers.some((l) => l.experts)) parts.push(["Which experts worked", figures.experts(p, layers)]);
        const all = svg("svg", { xmlns: "http://www.w3.org/2000/svg" });
        let y = 20;
        for (const [title, { g, height }] of parts) {
            all.append(svg("text", { x: 20, y: y + 14, "font-size": 14, "font-weight": 600, "font-family": "system-ui, sans-serif", fill: p.ink }, title));
            g.setAttribute("transform", `translate(20 ${y + 28})`);
            all.append(g);
            y += height + 58;
        }
        all.setAttribute("viewBox", `0 0 ${figures.WIDTH + 40} ${Math.ceil(y)}`);
        all.prepend(svg("rect", { width: "100%", height: "100%", fill: "#ffffff" }));
        download("klinear-memory.svg", "image/svg+xml", new XMLSerializer().serializeToString(all));
        say("The figures are saved.");
    }

    saveCsv() {
        const { layers, texts, ids, first, end, beta, memory } = this.data;
        const quote = (s) => `"${String(s).replaceAll('"', '""')}"`;
        const rows = [["what", "layer", "head", "index", "value", "token_id", "token"]];
        for (const [name, value] of Object.entries(memory)) rows.push(["memory", "", "", name, value, "", ""]);
        layers.forEach((layer, l) => {
            layer.decay?.half_life.forEach((q, h) => q.forEach((v, i) => rows.push(["half_life", l, h, [0.05, 0.25, 0.5, 0.75, 0.95][i], v, "", ""])));
            layer.decay?.channels?.forEach((list, h) => list.forEach((v, i) => rows.push(["channel_half_life", l, h, i, v, "", ""])));
            for (let i = first; layer.beta && i < end; i++)
                (beta[l][i] || []).forEach((v, h) => rows.push(["beta", l, h, i, v, ids[i], quote(texts[i])]));
            layer.attention?.weights.forEach((v, i) => {
                const at = layer.attention.first + i;
                rows.push(["attention", l, "", at, v, ids[at], quote(texts[at] ?? "")]);
            });
            layer.experts?.count.forEach((v, i) => rows.push(["expert_count", l, "", i, v, "", ""]));
        });
        download("klinear-memory.csv", "text/csv", rows.map((r) => r.join(",")).join("\n") + "\n");
        say("The numbers are saved.");
    }
}
