/** The server, asked.  Whatever goes wrong is a Problem: a sentence for people, and whether to try again makes sense. */

export class Problem extends Error {
    constructor(kind, message, fields = {}) {
        super(message);
        this.kind = kind; /* offline, lost, key, busy, long, refused, server */
        Object.assign(this, fields);
    }
}

function headers() {
    const key = sessionStorage.getItem("klinear.key");
    return key ? { Authorization: "Bearer " + key } : {};
}

async function problemOf(answer) {
    let said = "", code = null;
    try {
        ({ message: said, code } = (await answer.json()).error);
    } catch {
        /* not in the shape of an error: the status has to do */
    }
    const wait = Number(answer.headers.get("Retry-After")) || 0;
    if (answer.status === 401)
        return new Problem("key", "The server wants an API key, and the one it got is missing or wrong.");
    if (answer.status === 429)
        return new Problem("busy", `Too many requests: ${said || "the limit of this key is reached"}.`, { wait: wait || 5 });
    if (answer.status === 503)
        return new Problem("busy", `The server is busy: ${said || "try again in a moment"}.`, { wait: wait || 2 });
    if (answer.status >= 500) return new Problem("server", `The server failed: ${said || "status " + answer.status}.`);
    if (code === "context_length_exceeded")
        return new Problem("long", `This is more than the model can read: ${said}.`);
    return new Problem("refused", `The server refused this: ${said || "status " + answer.status}.`);
}

async function ask(path, options) {
    let answer;
    try {
        answer = await fetch(path, { ...options, headers: { ...headers(), ...(options.headers || {}) } });
    } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new Problem("offline", "The server cannot be reached. Is it still running?");
    }
    if (!answer.ok) throw await problemOf(answer);
    return answer;
}

export async function get(path) {
    return (await ask(path, { cache: "no-store" })).json();
}

export async function healthy() {
    try {
        return (await fetch("health", { cache: "no-store" })).ok;
    } catch {
        return false;
    }
}

/** Takes whole events out of what has come so far; the rest is kept. */
function* eventsOf(buffer) {
    for (;;) {
        const end = buffer.text.indexOf("\n\n");
        if (end < 0) return;
        const event = buffer.text.slice(0, end);
        buffer.text = buffer.text.slice(end + 2);
        for (const line of event.split("\n")) if (line.startsWith("data: ")) yield line.slice(6);
    }
}

/** Tells `take` of every chunk.  Ends normally at [DONE]; a stream that only ends is one that was lost. */
export async function stream(path, body, signal, take) {
    const options = { method: "POST", body: JSON.stringify({ ...body, stream: true }), signal };
    const answer = await ask(path, { ...options, headers: { "Content-Type": "application/json" } });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const buffer = { text: "" };
    for (;;) {
        let piece;
        try {
            piece = await reader.read();
        } catch (error) {
            if (error.name === "AbortError") throw error;
            throw new Problem("lost", "The connection to the server was lost in the middle of the answer.");
        }
        if (piece.done) throw new Problem("lost", "The connection to the server was lost in the middle of the answer.");
        buffer.text += piece.value;
        for (const data of eventsOf(buffer)) {
            if (data === "[DONE]") return;
            const chunk = JSON.parse(data);
            if (chunk.error) throw new Problem("server", `The server stopped: ${chunk.error.message}.`);
            take(chunk);
        }
    }
}
