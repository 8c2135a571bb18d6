/** The conversation that is shown: turns of a chat, or a text that the model goes on with. */
import { $, el, number, say } from "./dom.js";
import * as store from "./store.js";
import { shown } from "./text.js";

const near = (e) => e.scrollHeight - e.scrollTop - e.clientHeight < 90;
const pretty = (text) => {
    try {
        return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
        return text;
    }
};

export class Thread {
    /** actions: edit(node, text), again(node), goOn(), results(node, texts), turned(), start(text) */
    constructor(actions) {
        this.actions = actions;
        this.box = $("thread");
        this.live = null; /* the text node that grows */
    }

    show(conversation, running, editing) {
        const stay = near(this.box);
        const turns = store.path(conversation);
        this.conversation = conversation;
        this.running = running;
        this.editing = editing;
        this.live = null;
        const parts = turns.length === 0 ? [this.welcome()]
            : conversation.mode === "text" ? this.document(turns) : turns.map((node, i) => this.turn(node, i, turns));
        this.box.replaceChildren(...parts);
        if (stay || editing) this.toEnd();
        if (editing) this.box.querySelector(".edit textarea")?.focus();
    }

    toEnd() {
        if (!this.editing) this.box.scrollTop = this.box.scrollHeight;
    }

    /** More of the answer that is being written. */
    grow(text) {
        const stay = near(this.box);
        if (this.live) this.live.appendData(text);
        if (stay) this.toEnd();
    }

    /* ---- beginning */

    welcome() {
        const text = this.conversation.mode === "text";
        const starts = text
            ? ["It was a dark night, and", "“My dear,” said the old lady,", "The king had three sons. The youngest"]
            : ["Tell me a short story.", "What can you do?"];
        return el("div", { class: "welcome" },
            el("h2", {}, text ? "Begin a text" : "Begin a conversation"),
            el("p", { class: "quiet" }, text
                ? "This model goes on with what you write. Begin a story, and let it continue."
                : "Ask something. Everything stays on this machine and in this browser."),
            el("div", { class: "row" }, ...starts.map((start) =>
                el("button", { type: "button", onclick: () => this.actions.start(start) }, start))));
    }

    /* ---- a text */

    document(turns) {
        const last = turns.at(-1);
        if (this.editing) return [this.editor(this.editing, turns.map((t) => t.text).join(""), "Go on from here")];
        const box = el("div", { class: "document", role: "region", "aria-label": "Text" });
        for (const node of turns) {
            const span = el("span", { class: node.role === "user" ? "own" : "" }, node.text);
            if (this.isRunning(node)) this.makeLive(span, node);
            box.append(span);
        }
        return [box, this.troubleOf(last), this.isRunning(last) ? null : el("div", { class: "foot" },
            last.role === "assistant" ? this.button("Try again", () => this.actions.again(last)) : null,
            this.button("Edit the text", () => this.actions.beginEdit(last)),
            this.button("Copy", () => this.copy(turns.map((t) => t.text).join(""))),
            this.forks(last), this.stats(last))].filter(Boolean);
    }

    /* ---- turns of a chat */

    turn(node, i, turns) {
        const who = { user: "You", assistant: "Model", tool: "Results of tools" }[node.role];
        const article = el("article", { class: "turn " + node.role, "aria-label": `${who}, turn ${i + 1}` }, el("h2", {}, who));
        if (this.editing === node) {
            article.append(this.editor(node, node.text, "Send"));
            return article;
        }
        if (node.role === "tool") article.append(...node.results.map((r) => el("pre", { class: "code", tabIndex: 0 }, r.text)));
        else article.append(this.bodyOf(node));
        for (const call of node.calls || [])
            article.append(el("div", { class: "call" }, el("h3", {}, `Calls ${call.name || "a tool"}`),
                el("pre", { class: "code", tabIndex: 0 }, pretty(call.arguments))));
        if ((node.calls || []).length && node === turns.at(-1) && !this.isRunning(node)) article.append(this.resultForm(node));
        const trouble = this.troubleOf(node);
        if (trouble) article.append(trouble);
        if (!this.isRunning(node)) article.append(this.foot(node));
        return article;
    }

    bodyOf(node) {
        const body = el("div", { class: "body" });
        if (this.isRunning(node)) {
            const p = el("p", {}, node.text);
            this.makeLive(p, node);
            body.append(p);
        } else if (node.role === "user") body.append(el("p", {}, node.text));
        else body.append(...shown(node.text));
        return body;
    }

    resultForm(node) {
        const boxes = node.calls.map((call, i) => {
            const id = `result-${i}`;
            return [el("label", { for: id, class: "small quiet" }, `What ${call.name || "the tool"} answers`),
                el("textarea", { id, rows: 2, class: "code" })];
        });
        const form = el("form", { class: "edit call", onsubmit: (e) => {
            e.preventDefault();
            this.actions.results(node, boxes.map((b) => b[1].value));
        } }, ...boxes.flat(), el("div", { class: "row end" }, el("button", { class: "primary" }, "Give the results")));
        return form;
    }

    foot(node) {
        return el("div", { class: "foot" },
            node.role === "user" ? this.button("Edit", () => this.actions.beginEdit(node)) : null,
            node.role === "assistant" ? this.button("Try again", () => this.actions.again(node)) : null,
            node.role !== "tool" ? this.button("Copy", () => this.copy(node.text)) : null,
            this.forks(node), this.stats(node));
    }

    /* ---- parts of both */

    isRunning(node) {
        return this.running && this.running.node === node;
    }

    makeLive(element, node) {
        element.classList.add("writing");
        if (!element.firstChild) element.append("");
        this.live = element.firstChild.nodeType === 3 ? element.firstChild : element.appendChild(document.createTextNode(""));
        if (this.live.data !== node.text) this.live.data = node.text;
    }

    button(label, act) {
        return el("button", { type: "button", class: "plain", onclick: act }, label);
    }

    async copy(text) {
        try {
            await navigator.clipboard.writeText(text);
            say("Copied.");
        } catch {
            say("The browser does not let this page copy.");
        }
    }

    /** Which of several answers, or of several edits, is shown. */
    forks(node) {
        const all = store.siblings(this.conversation, node);
        if (all.length < 2) return null;
        const at = all.indexOf(node);
        const go = (i, label, sign) => el("button", { type: "button", class: "plain", "aria-label": label,
            disabled: i < 0 || i >= all.length, onclick: () => this.actions.turnTo(all[i]) }, sign);
        return el("span", { class: "row small quiet", role: "group", "aria-label": "Versions" },
            go(at - 1, "Version before", "‹"), `${at + 1} of ${all.length}`, go(at + 1, "Version after", "›"));
    }

    stats(node) {
        const s = node.stats;
        if (!s) return null;
        const parts = [`${number(s.tokens)} tokens`];
        if (s.rate) parts.push(`${number(s.rate)} tokens/s`);
        if (s.prompt) parts.push(`${number(s.cached)} of ${number(s.prompt)} prompt tokens from the cache`);
        if (node.finish === "length") parts.push("ended at the limit of tokens");
        if (node.cut) parts.push("only the end of the text fits into what the model reads");
        return el("span", { class: "stats small quiet" }, parts.join(" · "));
    }

    troubleOf(node) {
        if (this.isRunning(node) || !["error", "partial", "stopped"].includes(node.state)) return null;
        const text = node.state === "error" ? node.error
            : node.state === "stopped" ? "You stopped this answer."
            : "This answer was not finished when the page was closed.";
        return el("div", { class: "note small" }, text,
            el("button", { type: "button", onclick: () => this.actions.again(node) }, "Try again"));
    }

    editor(node, text, label) {
        const box = el("textarea", { rows: Math.min(14, text.split("\n").length + 2), "aria-label": "Edited text" });
        box.value = text;
        const done = () => box.value.trim() && this.actions.edit(node, box.value);
        box.addEventListener("keydown", (e) => {
            if (e.key === "Escape") this.actions.beginEdit(null);
            else if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) done();
        });
        return el("div", { class: "edit" }, box, el("div", { class: "row end" },
            el("button", { type: "button", onclick: () => this.actions.beginEdit(null) }, "Cancel"),
            el("button", { type: "button", class: "primary", onclick: done }, label)));
    }
}
