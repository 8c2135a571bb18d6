/** What the page does: conversations, requests, settings.  The parts that are seen are in thread.js and memory.js. */
import * as api from "./api.js";
import { $, el, number, say } from "./dom.js";
import { Memory } from "./memory.js";
import * as store from "./store.js";
import { Thread } from "./thread.js";

const { settings } = store;
let props = null;
let conversation = null;
let running = null; /* {controller, node, conversation} */
let editing = null;
/* A reload stays the same tab: then nobody goes on writing what it wrote. */
const tab = sessionStorage.getItem("klinear.tab") || store.newId();
sessionStorage.setItem("klinear.tab", tab);

const memory = new Memory({ lookNow: () => lookNow() });
const thread = new Thread({
    start: (text) => send(text),
    edit, again, results,
    beginEdit: (node) => ((editing = node), render()),
    turnTo: (node) => {
        store.turnTo(conversation, node);
        store.save(conversation);
        render();
    },
});

/* ---- showing */

function render() {
    thread.show(conversation, running, editing);
    renderList();
    const text = conversation.mode === "text";
    $("send").textContent = text ? "Continue" : "Send";
    showBusy();
    $("message-label").textContent = text ? "Text to go on with" : "Message";
    $("message").placeholder = text ? "Write what comes next, or nothing" : "Write a message";
    $("hint").textContent = coarse() ? "" : text ? "Ctrl + Enter: continue. Escape: stop."
        : "Enter: send. Shift + Enter: new line. Escape: stop.";
    document.title = conversation.title ? `${conversation.title} · klinear` : "klinear";
}

function showBusy() {
    $("send").hidden = running !== null;
    $("stop").hidden = running === null;
}

const coarse = () => matchMedia("(pointer: coarse)").matches;

function renderList() {
    const all = store.list();
    $("conversations").replaceChildren(...all.map((c) =>
        el("li", { class: c.id === conversation.id ? "current" : "" },
            el("button", { type: "button", class: "open", "aria-current": c.id === conversation.id ? "true" : null,
                onclick: () => open(c.id) }, el("span", {}, c.title || "Untitled")),
            el("button", { type: "button", class: "delete plain", "aria-label": `Delete ${c.title || "Untitled"}`,
                onclick: () => remove(c.id) }, "×"))));
}

function trouble(text, act = null, label = "Try again") {
    $("trouble").hidden = !text;
    $("trouble").replaceChildren(text || "", act ? el("button", { type: "button", onclick: act }, label) : "");
}

/* ---- conversations */

/* A model that comes without a template, and was given none, has learned to go on with texts. */
const firstMode = () => (props && !props.chat_template && !props.template ? "text" : "chat");

function begin() {
    conversation = store.create(firstMode(), settings.system || "");
    editing = null;
    history.replaceState(null, "", location.pathname + location.search);
    memory.forget();
    render();
}

function open(id) {
    const found = store.load(id);
    if (!found) return begin();
    conversation = running && running.conversation.id === id ? running.conversation : found;
    editing = null;
    for (const node of Object.values(conversation.nodes))
        if (node.state === "writing" && running?.node !== node && (node.tab === tab || Date.now() - node.t > 5000)) node.state = "partial";
    history.replaceState(null, "", "#" + id);
    $("side").classList.remove("shown");
    memory.forget();
    render();
    thread.toEnd();
    $("message").focus();
}

function remove(id) {
    if (running && running.conversation.id === id) running.controller.abort();
    store.remove(id);
    say("Deleted.");
    if (conversation.id === id) begin();
    else renderList();
}

function keep(c) {
    store.save(c);
    if (c === conversation && location.hash !== "#" + c.id) history.replaceState(null, "", "#" + c.id);
}

/* ---- requests */

function sampling() {
    const s = { temperature: settings.temperature, top_p: settings.top_p, max_tokens: settings.max_tokens };
    if (settings.top_k > 0) s.top_k = settings.top_k;
    if (settings.min_p > 0) s.min_p = settings.min_p;
    if (settings.repetition_penalty !== 1) s.repetition_penalty = settings.repetition_penalty;
    if (settings.seed !== "") s.seed = Number(settings.seed);
    return s;
}

function messagesOf(c, turns) {
    const messages = c.system ? [{ role: "system", content: c.system }] : [];
    for (const t of turns) {
        if (t.role === "tool") for (const r of t.results) messages.push({ role: "tool", tool_call_id: r.id, content: r.text });
        else if (t.role === "assistant" && t.calls?.length)
            messages.push({ role: "assistant", content: t.text || null, tool_calls: t.calls.map((call) => ({
                id: call.id, type: "function", function: { name: call.name, arguments: call.arguments } })) });
        else messages.push({ role: t.role, content: t.text });
    }
    return messages;
}

function requestOf(c, turns) {
    const common = { ...sampling(), stream_options: { include_usage: true }, ...memory.wish() };
    if (c.mode === "text") return ["v1/completions", { ...common, prompt: turns.map((t) => t.text).join("") }];
    const tools = settings.tools.trim() ? JSON.parse(settings.tools) : [];
    return ["v1/chat/completions", { ...common, messages: messagesOf(c, turns), ...(tools.length ? { tools } : {}) }];
}

/** A chunk of the answer, into the node. */
function take(node, chunk, state) {
    if (chunk.object === "klinear.trace") return memory.take(chunk.trace, chunk.done);
    if (chunk.usage) state.usage = chunk.usage;
    const choice = chunk.choices[0];
    if (!choice) return;
    const text = choice.text ?? choice.delta?.content ?? "";
    for (const part of choice.delta?.tool_calls || []) {
        const call = ((node.calls ||= [])[part.index] ||= { id: "", name: "", arguments: "" });
        call.id ||= part.id || "";
        call.name ||= part.function?.name || "";
        call.arguments += part.function?.arguments || "";
        state.callsChanged = true;
    }
    if (choice.finish_reason) node.finish = choice.finish_reason;
    if (!text) return;
    node.text += text;
    state.fresh += text;
    state.first ||= performance.now();
    state.n++;
}

function statsOf(state) {
    const u = state.usage;
    if (!u) return state.n ? { tokens: state.n, rate: rateOf(state) } : null;
    const seconds = (u.klinear?.write_ms || 0) / 1e3;
    return { tokens: u.completion_tokens, rate: seconds > 0 && u.completion_tokens > 1 ? (u.completion_tokens - 1) / seconds : rateOf(state),
        prompt: u.prompt_tokens, cached: u.prompt_tokens_details?.cached_tokens || 0 };
}

const rateOf = (state) => (state.n > 4 ? (state.n - 1) / ((performance.now() - state.first) / 1e3) : 0);

/** Shows what has come, once for each frame that is drawn. */
function draw(state, node, mine) {
    if (state.fresh && mine()) thread.grow(state.fresh);
    if (state.callsChanged && mine()) render();
    state.fresh = "";
    state.callsChanged = false;
    const rate = rateOf(state);
    $("doing").textContent = state.n ? `Writing: ${number(state.n)} tokens${rate ? `, ${number(rate)} a second` : ""}`
        : `Reading${".".repeat(1 + (Math.floor(performance.now() / 500) % 3))}`;
    if (performance.now() - state.saved > 1000) {
        state.saved = performance.now();
        node.t = Date.now();
        keep(state.conversation);
    }
}

function fail(node, problem) {
    node.state = problem.name === "AbortError" ? "stopped" : "error";
    if (node.state === "stopped") return say("Stopped.");
    if (!(problem instanceof api.Problem)) console.error(problem);
    node.error = problem instanceof api.Problem ? problem.message : "The page failed: " + problem.message;
    say(node.error);
    if (problem.kind === "key") askForKey(node);
    if (problem.kind === "busy") retryLater(node, problem.wait);
    if (problem.kind === "offline" || problem.kind === "lost") watchHealth();
}

/** Of a text that is longer than the context only the end is read. */
async function askFor(node, [path, body], signal, takeChunk) {
    for (;;) {
        try {
            return await api.stream(path, body, signal, takeChunk);
        } catch (problem) {
            if (problem.kind !== "long" || !body.prompt || body.prompt.length < 100) throw problem;
            const rest = body.prompt.slice(Math.ceil(body.prompt.length / 3));
            body = { ...body, prompt: rest.slice(rest.search(/\s/) + 1) };
            node.cut = true;
        }
    }
}

/** Writes an answer behind `parent`. */
async function generate(parent) {
    const c = conversation;
    const turns = store.path(c, parent?.id);
    let request;
    try {
        request = requestOf(c, turns);
    } catch {
        return trouble("The tools in the settings are no JSON.", () => $("open-settings").click(), "Settings");
    }
    const node = store.add(c, parent?.id ?? null, { role: "assistant", text: "", state: "writing", tab });
    const state = { conversation: c, fresh: "", n: 0, first: 0, saved: performance.now(), usage: null };
    const me = (running = { controller: new AbortController(), node, conversation: c });
    const mine = () => running === me && conversation === c;
    trouble("");
    keep(c);
    render();
    thread.toEnd();
    $("doing").hidden = false;
    say("The model reads.");
    const frames = setInterval(() => draw(state, node, mine), 50);
    try {
        await askFor(node, request, me.controller.signal, (chunk) => take(node, chunk, state));
        node.state = "done";
        say(node.text.length < 400 ? `Answer: ${node.text}` : `The answer is there: ${number(state.usage?.completion_tokens || state.n)} tokens.`);
    } catch (problem) {
        fail(node, problem);
    }
    clearInterval(frames);
    node.stats = statsOf(state);
    node.t = Date.now();
    if (running === me) running = null;
    $("doing").hidden = true;
    keep(c);
    if (conversation === c) return render();
    showBusy(); /* another conversation is shown: what somebody may be writing there stays */
    renderList();
}

/** Between a text and what is put behind it. */
function joined(before, text) {
    return before && !/\s$/.test(before) && /^[\p{L}\p{N}“"‘]/u.test(text) ? " " + text : text;
}

function send(text) {
    if (running) return;
    const turns = store.path(conversation);
    let parent = turns.at(-1) || null;
    if (text.trim()) {
        const own = conversation.mode === "text" ? joined(turns.map((t) => t.text).join(""), text) : text;
        parent = store.add(conversation, parent?.id ?? null, { role: "user", text: own });
    } else if (conversation.mode !== "text" || !parent) return;
    editing = null;
    generate(parent);
}

function edit(node, text) {
    if (running) return;
    editing = null;
    const parent = conversation.mode === "text" ? null : node.parent;
    generate(store.add(conversation, parent, { role: "user", text }));
}

function again(node) {
    if (running) return;
    editing = null;
    const from = node.role === "assistant" ? conversation.nodes[node.parent] || null : node;
    generate(from);
}

function results(node, texts) {
    if (running) return;
    const list = node.calls.map((call, i) => ({ id: call.id, text: texts[i] }));
    generate(store.add(conversation, node.id, { role: "tool", text: "", results: list }));
}

function stop() {
    running?.controller.abort();
}

/** The model reads the conversation again only so that it can be looked at. */
async function lookNow() {
    const turns = store.path(conversation);
    if (running || !turns.length) return;
    const [path, body] = requestOf(conversation, conversation.mode === "chat" && turns.at(-1).role === "assistant" ? turns.slice(0, -1) : turns);
    const me = (running = { controller: new AbortController(), node: null, conversation });
    render();
    try {
        await api.stream(path, { ...body, max_tokens: 1, trace: "all" }, me.controller.signal,
            (chunk) => chunk.object === "klinear.trace" && memory.take(chunk.trace, chunk.done));
    } catch (problem) {
        if (problem.name !== "AbortError") trouble(problem.message);
    }
    running = null;
    render();
}

/* ---- when something is wrong */

function askForKey(node) {
    trouble("The server wants an API key.", () => {
        openSettings();
        $("key").focus();
        $("settings").addEventListener("close", () => settings && node && sessionStorage.getItem("klinear.key") && retry(node), { once: true });
    }, "Enter the key");
}

const retry = (node) => conversation.nodes[node.id] === node && (trouble(""), again(node));

let counting = null;
function retryLater(node, seconds) {
    clearInterval(counting);
    let left = Math.ceil(seconds);
    const tick = () => {
        if (left-- > 0) return trouble(`${node.error} Trying again is possible in ${left + 1} s.`);
        clearInterval(counting);
        trouble(node.error, () => retry(node));
    };
    tick();
    counting = setInterval(tick, 1000);
}

let watching = false;
/** Says that the server is gone, until it is there again. */
async function watchHealth() {
    if (watching) return;
    watching = true;
    for (let i = 0; !(await api.healthy()); i++) {
        trouble("The server cannot be reached. The page looks for it and will say when it is back.");
        await new Promise((done) => setTimeout(done, i < 5 ? 1000 : 5000));
    }
    watching = false;
    if (!props) await learn();
    trouble("");
    say("The server can be reached.");
}

/* ---- settings */

const fields = ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed", "theme", "tools"];

function openSettings() {
    for (const name of fields) $(name).value = settings[name];
    $("system").value = conversation.system;
    $("key").value = sessionStorage.getItem("klinear.key") || "";
    for (const radio of document.getElementsByName("mode")) {
        radio.checked = radio.value === conversation.mode;
        radio.disabled = (radio.value === "chat" && props && !props.chat) || Object.keys(conversation.nodes).length > 0;
    }
    showFields();
    $("settings").showModal();
}

function showFields() {
    const chat = document.querySelector('input[name="mode"]:checked')?.value !== "text";
    $("system-field").hidden = $("tools-field").hidden = !chat;
    try {
        const tools = $("tools").value.trim() && JSON.parse($("tools").value);
        $("tools-problem").hidden = !tools || Array.isArray(tools);
        $("tools-problem").textContent = "This is no array.";
    } catch (error) {
        $("tools-problem").hidden = false;
        $("tools-problem").textContent = "This is no JSON: " + error.message;
    }
}

function closeSettings() {
    for (const name of fields) {
        const input = $(name);
        if (input.type !== "number" || name === "seed") settings[name] = input.value;
        else if (input.validity.valid && input.value !== "") settings[name] = Number(input.value);
    }
    store.keepSettings();
    const key = $("key").value.trim();
    if (key) sessionStorage.setItem("klinear.key", key);
    else sessionStorage.removeItem("klinear.key");
    conversation.system = $("system").value;
    conversation.mode = document.querySelector('input[name="mode"]:checked')?.value || conversation.mode;
    keep(conversation);
    dress();
    render();
    if (!props) learn();
}

function dress() {
    if (settings.theme) document.documentElement.dataset.theme = settings.theme;
    else delete document.documentElement.dataset.theme;
    memory.draw();
}

/* ---- the page */

async function learn() {
    try {
        props = await api.get("props");
    } catch (problem) {
        if (problem.kind === "key") askForKey(null);
        else if (problem.kind === "offline") watchHealth();
        else trouble(problem.message, learn);
        return;
    }
    trouble("");
    $("model").textContent = props.model;
    $("model").title = `${props.model}, context of ${number(props.context)} tokens`;
    if (!Object.keys(conversation.nodes).length) conversation.mode = firstMode();
    render();
}

function fit() {
    const box = $("message");
    box.style.height = "auto";
    box.style.height = Math.min(box.scrollHeight, 190) + "px";
}

function wire() {
    $("composer").addEventListener("submit", (e) => {
        e.preventDefault();
        if (running) return;
        const text = $("message").value;
        $("message").value = "";
        fit();
        send(text);
    });
    $("message").addEventListener("input", fit);
    $("message").addEventListener("keydown", (e) => {
        if (e.key !== "Enter" || e.isComposing) return;
        const go = conversation.mode === "text" || coarse() ? e.ctrlKey || e.metaKey : !e.shiftKey;
        if (!go) return;
        e.preventDefault();
        $("composer").requestSubmit();
    });
    addEventListener("keydown", (e) => {
        if (e.key !== "Escape" || $("settings").open) return;
        if (running) stop();
        else if ($("memory").contains(document.activeElement)) memory.open(false);
    });
    $("stop").addEventListener("click", () => (stop(), $("message").focus()));
    $("new").addEventListener("click", () => {
        begin();
        $("side").classList.remove("shown");
        $("message").focus();
    });
    $("menu").addEventListener("click", () => {
        const shown = $("side").classList.toggle("shown");
        $("menu").setAttribute("aria-expanded", String(shown));
        if (shown) $("new").focus();
    });
    $("main").addEventListener("click", () => $("side").classList.remove("shown"));
    $("open-settings").addEventListener("click", openSettings);
    $("settings").addEventListener("close", closeSettings);
    $("settings").addEventListener("input", showFields);
    $("reset").addEventListener("click", () => {
        for (const name of fields) $(name).value = store.defaults[name];
        showFields();
    });
    $("delete-all").addEventListener("click", () => {
        if (!confirm("Delete all conversations of this browser?")) return;
        stop();
        store.removeAll();
        begin();
    });
    addEventListener("hashchange", () => location.hash.length > 1 && location.hash !== "#message" && open(location.hash.slice(1)));
    addEventListener("offline", watchHealth);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => memory.draw());
}

/** Another tab has changed something. */
function joinTabs(id) {
    const gone = id && !store.load(id);
    if (gone) {
        if (running?.conversation.id === id) stop();
        store.remove(id);
    }
    if (gone && id === conversation.id && Object.keys(conversation.nodes).length) {
        say("This conversation was deleted in another tab.");
        return begin();
    }
    if (id === conversation.id && !running) {
        const before = store.siblings(conversation, conversation.nodes[conversation.leaf] || { parent: null }).length;
        store.join(conversation, store.load(id));
        const leaf = conversation.nodes[conversation.leaf];
        /* What was put behind the end of what is shown here is shown as well; other versions wait to be turned to. */
        if (leaf) store.turnTo(conversation, leaf);
        if (!editing || before === 0) return render();
    }
    renderList();
}

store.watch(trouble, joinTabs);
conversation = store.create("chat");
wire();
dress();
if (location.hash.length > 1 && store.load(location.hash.slice(1))) open(location.hash.slice(1));
else begin();
learn();
