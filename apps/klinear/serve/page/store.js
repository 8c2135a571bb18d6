/** Conversations, kept in the browser.  A conversation is a tree of turns, so that an edit or another answer forks it
 *  and nothing is lost; `leaf` says which path is shown.  Several tabs may have the same one open: turns that another
 *  tab added are joined in, and of a turn that both have the newer one wins. */

const LIST = "klinear.conversations";
const keyOf = (id) => "klinear.c." + id;
export const newId = () => Date.now().toString(36) + Math.random().toString(36).slice(2, 8);

let trouble = () => {};
let changed = () => {};

function read(key, otherwise) {
    try {
        return JSON.parse(localStorage.getItem(key)) ?? otherwise;
    } catch {
        return otherwise;
    }
}

function write(key, value) {
    try {
        localStorage.setItem(key, JSON.stringify(value));
        return true;
    } catch {
        trouble("The browser has no room left for this conversation. Delete old ones to keep new turns.");
        return false;
    }
}

export function watch(onTrouble, onChange) {
    trouble = onTrouble;
    changed = onChange;
    addEventListener("storage", (e) => {
        if (e.key === null || e.key === LIST) changed(null);
        else if (e.key.startsWith("klinear.c.")) changed(e.key.slice("klinear.c.".length));
    });
}

export const list = () => read(LIST, []).sort((a, b) => b.updated - a.updated);
export const load = (id) => read(keyOf(id), null);

export function create(mode, system = "") {
    return { id: newId(), title: "", mode, system, updated: Date.now(), nodes: {}, leaf: null };
}

/** Joins what another tab has saved since. */
export function join(conversation, other) {
    if (!other) return;
    for (const [id, node] of Object.entries(other.nodes)) {
        const own = conversation.nodes[id];
        if (!own || (own.t || 0) < (node.t || 0)) conversation.nodes[id] = node;
    }
    if (!conversation.leaf) conversation.leaf = other.leaf;
    conversation.title ||= other.title;
}

const removed = new Set(); /* an answer that was under way must not bring its conversation back */

export function save(conversation) {
    if (removed.has(conversation.id) || !Object.keys(conversation.nodes).length) return;
    join(conversation, load(conversation.id));
    conversation.updated = Date.now();
    if (!write(keyOf(conversation.id), conversation)) return;
    const { id, title, mode, updated } = conversation;
    write(LIST, [{ id, title, mode, updated }, ...read(LIST, []).filter((c) => c.id !== id)]);
}

export function remove(id) {
    removed.add(id);
    localStorage.removeItem(keyOf(id));
    write(LIST, read(LIST, []).filter((c) => c.id !== id));
}

export function removeAll() {
    for (const c of list()) remove(c.id);
}

/* ---- the tree */

export function add(conversation, parent, fields) {
    const node = { id: newId(), parent, t: Date.now(), ...fields };
    conversation.nodes[node.id] = node;
    conversation.leaf = node.id;
    if (!conversation.title && node.text) conversation.title = node.text.trim().replace(/\s+/g, " ").slice(0, 60);
    return node;
}

/** Turns from the first to `leaf`. */
export function path(conversation, leaf = conversation.leaf) {
    const turns = [];
    const seen = new Set();
    for (let node = conversation.nodes[leaf]; node && !seen.has(node.id); node = conversation.nodes[node.parent]) {
        seen.add(node.id);
        turns.unshift(node);
    }
    return turns;
}

const children = (conversation, parent) =>
    Object.values(conversation.nodes).filter((n) => n.parent === parent).sort((a, b) => (a.id < b.id ? -1 : 1));

export const siblings = (conversation, node) => children(conversation, node.parent);

/** Shows the path through `node`, to the newest of its ends. */
export function turnTo(conversation, node) {
    let at = node;
    for (let next; (next = children(conversation, at.id).pop()); ) at = next;
    conversation.leaf = at.id;
}

/* ---- settings */

export const defaults = {
    temperature: 0.8, top_p: 0.95, top_k: 0, min_p: 0, repetition_penalty: 1, max_tokens: 256, seed: "", theme: "", tools: "",
};
export const settings = { ...defaults, ...read("klinear.settings", {}) };
export const keepSettings = () => write("klinear.settings", settings);
