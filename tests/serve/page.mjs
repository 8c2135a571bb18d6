// usage: node page.mjs KLINEAR TALES TINY CHROMIUM NODE_FOLDER SCRATCH: the page as people use it.  See test_page.py.
import { spawn } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const [program, tales, tiny, executablePath, nodeFolder, scratch] = process.argv.slice(2);
const require = createRequire(path.join(nodeFolder, "x.js"));
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const shots = process.env.KLINEAR_SHOTS;

function expect(fine, sentence) {
    if (!fine) throw new Error(sentence);
}

/* ---- servers and pages */

const servers = new Set();

function serve(model, port, ...options) {
    return new Promise((done, fail) => {
        const child = spawn(program, ["serve", "-m", model, "--port", String(port), "-t", "1", ...options], { stdio: ["ignore", "pipe", "ignore"] });
        servers.add(child);
        child.stdout.once("data", (line) => {
            const url = String(line).trim();
            done({ url, port: Number(new URL(url).port), kill: (signal) => new Promise((gone) => {
                child.once("exit", gone);
                child.kill(signal);
                servers.delete(child);
            }) });
        });
        child.once("exit", () => fail(new Error("the server ended")));
    });
}

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });

/** A browser of its own: nothing is kept from others.  Whatever the console complains about is a fault, but for what
 *  the test itself breaks. */
async function visitor(server, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1360, height: 860 }, acceptDownloads: true, ...options });
    const faults = [];
    const open = async (url = server.url) => {
        const page = await context.newPage();
        page.on("pageerror", (e) => faults.push(e.message));
        page.on("console", (m) => m.type() === "error" && !/Failed to load resource|ERR_/.test(m.text()) && faults.push(m.text()));
        page.on("request", (r) => /^(blob|data):/.test(r.url()) || r.url().startsWith(server.url) || faults.push("asks " + r.url()));
        await page.goto(url);
        await page.waitForFunction(() => document.getElementById("model").textContent || !document.getElementById("trouble").hidden);
        return page;
    };
    return { open, close: async () => {
        await context.close();
        expect(!faults.length, "the browser complains: " + faults.join(" | "));
    } };
}

const idle = (page) => page.waitForFunction(() => !document.getElementById("send").hidden, null, { timeout: 60000 });
const shown = (page, text) => page.getByText(text).first().waitFor({ timeout: 20000 });
const textOf = (page) => page.locator(".document").innerText();

async function set(page, fields) {
    await page.locator("#open-settings").click();
    for (const [id, value] of Object.entries(fields)) await page.fill("#" + id, String(value));
    await page.getByRole("button", { name: "Done" }).click();
}

async function goOn(page, text = "") {
    await page.fill("#message", text);
    await page.locator("#message").press("Control+Enter");
    await idle(page);
}

/** Acts while an answer is being written, after which the page says `sentence`.  An answer may be over before that, by a
 *  token that ends it: then another one is begun. */
async function inTheMiddle(page, act, sentence) {
    await set(page, { max_tokens: 460, temperature: 1 });
    for (let i = 0; i < 8; i++) {
        await page.getByRole("button", { name: "New conversation" }).click();
        await page.fill("#message", "Chapter one");
        await page.locator("#message").press("Control+Enter");
        await page.waitForFunction(() => document.getElementById("stop").hidden || document.querySelector(".document")?.innerText.length > 40);
        if (await page.locator("#stop").isHidden()) continue;
        await act();
        if (await page.getByText(sentence).first().waitFor({ timeout: 4000 }).then(() => true, () => false)) return;
        await idle(page);
    }
    throw new Error(`"${sentence}" was never said`);
}

async function accessible(page, what) {
    await page.evaluate(axe);
    const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
    const list = found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(" ")).slice(0, 3).join(", ")}`);
    expect(!list.length, `${what} is not accessible: ${list.join(" | ")}`);
}

async function shot(page, name) {
    if (shots) await page.screenshot({ path: path.join(shots, name + ".png") });
}

async function saved(page, id) {
    const [file] = await Promise.all([page.waitForEvent("download"), page.locator(id).click()]);
    const to = path.join(scratch, id.slice(1));
    await file.saveAs(to);
    return fs.readFileSync(to, "utf8");
}

/* ---- what is tested */

const tests = {
    async "a text goes on, forks, is edited, and is there after a reload"(server) {
        const v = await visitor(server), page = await v.open();
        await shown(page, "Begin a text");
        await accessible(page, "the first page");
        await set(page, { max_tokens: 30 });
        await goOn(page, "It was a dark night, and the old lady");
        const first = await textOf(page);
        expect(first.startsWith("It was a dark night, and the old lady") && first.length > 60, "the text goes on: " + first);
        await shown(page, "30 tokens");
        expect(/tokens\/s · 0 of \d+ prompt tokens from the cache/.test(await page.locator(".stats").innerText()), "statistics");
        await page.getByRole("button", { name: "Try again" }).click();
        await page.getByText("2 of 2").waitFor();
        await idle(page);
        const second = await textOf(page);
        await page.getByRole("button", { name: "Version before" }).click();
        expect((await textOf(page)) === first, "the first version is still there");
        await goOn(page);
        expect((await textOf(page)).startsWith(first), "it goes on behind the first version");
        expect(Number((await page.locator(".stats").innerText()).match(/(\d+) of \d+ prompt/)[1]) >= 0, "cached tokens");
        await page.getByRole("button", { name: "Edit the text" }).click();
        await page.locator(".edit textarea").fill("The king was old.");
        await page.getByRole("button", { name: "Go on from here" }).click();
        await idle(page);
        const third = await textOf(page);
        expect(third.startsWith("The king was old.") && third.length > 30, "the edited text goes on");
        await page.reload();
        await shown(page, "The king was old.");
        expect((await textOf(page)) === third, "the same after a reload");
        expect(second.length > 40, "the second version was a text");
        await v.close();
    },

    async "an answer is stopped, and the server stops with it"(server) {
        const v = await visitor(server), page = await v.open();
        await inTheMiddle(page, () => page.locator("#stop").evaluate((b) => b.click()), "You stopped this answer.");
        expect(await page.evaluate(() => document.activeElement.id) === "message", "the message box has the focus");
        for (let i = 0; ; i++) {
            const slots = await (await fetch(server.url + "/slots")).json();
            if (!slots.length) break;
            expect(i < 100, "the server goes on");
            await new Promise((done) => setTimeout(done, 50));
        }
        await v.close();
    },

    async "a page that is reloaded in the middle says so"(server) {
        const v = await visitor(server), page = await v.open();
        await inTheMiddle(page, () => page.reload(), "This answer was not finished when the page was closed.");
        await page.locator(".note").getByRole("button", { name: "Try again" }).click();
        await page.getByText("2 of 2").waitFor({ timeout: 60000 });
        await v.close();
    },

    async "the connection is lost, the server comes back"() {
        let server = await serve(tales, 0);
        const v = await visitor(server), page = await v.open();
        const kill = async () => {
            await server.kill("SIGKILL");
            await page.waitForTimeout(200);
            if (!(await page.locator(".note").count())) server = await serve(tales, server.port); /* that was too late */
        };
        await inTheMiddle(page, kill, "The connection to the server was lost in the middle of the answer.");
        await shown(page, "The server cannot be reached.");
        expect((await textOf(page)).length > 40, "what had come is kept");
        await page.locator(".note").getByRole("button", { name: "Try again" }).click();
        await shown(page, "Is it still running?");
        const again = await serve(tales, server.port);
        await page.waitForFunction(() => document.getElementById("trouble").hidden, null, { timeout: 20000 });
        await set(page, { max_tokens: 10 });
        await page.locator(".note").getByRole("button", { name: "Try again" }).click();
        await page.waitForFunction(() => !document.querySelector(".note") && document.querySelector(".stats"), null, { timeout: 20000 });
        await again.kill("SIGTERM");
        await v.close();
    },

    async "two tabs show the same conversations"(server) {
        const v = await visitor(server), one = await v.open();
        await set(one, { max_tokens: 12 });
        await goOn(one, "The first tab");
        const two = await v.open(one.url());
        await shown(two, "The first tab");
        await goOn(one, "And again");
        await two.waitForFunction(() => document.querySelector(".document").innerText.includes("And again"));
        await two.waitForFunction(() => !document.querySelector(".note"));
        await two.getByRole("button", { name: "New conversation" }).click();
        await goOn(two, "The second tab");
        await one.getByRole("button", { name: "The second tab", exact: true }).waitFor();
        await Promise.all([goOn(one, "One."), goOn(two, "Two.")]);
        expect((await textOf(one)).includes("One.") && (await textOf(two)).includes("Two."), "both go on");
        await two.getByRole("button", { name: "Delete The second tab" }).click();
        await one.getByRole("button", { name: "The second tab", exact: true }).waitFor({ state: "detached" });
        await one.reload();
        await shown(one, "One.");
        await v.close();
    },

    async "a conversation that is deleted while it is written stays deleted, and the page goes on"(server) {
        const v = await visitor(server), page = await v.open();
        let id;
        await inTheMiddle(page, async () => {
            id = new URL(page.url()).hash.slice(1);
            await page.locator("#conversations li.current .delete").evaluate((b) => b.click());
        }, "Begin a text");
        await idle(page);
        expect(await page.evaluate((k) => localStorage.getItem("klinear.c." + k) === null, id), "it came back");
        await v.close();
    },

    async "the memory view shows what the trace says, and saves it"(server) {
        for (const colorScheme of ["light", "dark"]) {
            const v = await visitor(server, { colorScheme }), page = await v.open();
            await set(page, { max_tokens: 150, seed: 11 });
            await page.locator("#open-memory").click();
            await shown(page, "Nothing has been watched yet");
            await accessible(page, "the empty memory view");
            await goOn(page, "It was a dark night, and the old lady who lived near the forest");
            await page.locator("#memory-body svg.figure").nth(2).waitFor();
            await accessible(page, `the memory view, ${colorScheme}`);
            await shot(page, "page-" + colorScheme);
            const csv = (await saved(page, "#save-csv")).trim().split("\n").map((row) => row.split(","));
            const beta = csv.filter((row) => row[0] === "beta"), tokens = new Set(beta.map((row) => row[3]));
            expect(tokens.size > 100 && beta.length === tokens.size * 9, `betas of 3 heads in 3 layers: ${beta.length}`);
            expect(beta.every((row) => row[4] >= 0 && row[4] <= 1), "betas lie in 0 .. 1");
            const looked = csv.filter((row) => row[0] === "attention").reduce((sum, row) => sum + Number(row[4]), 0);
            expect(Math.abs(looked - 1) < 0.02, `attention sums to ${looked}`);
            expect(csv.filter((row) => row[0] === "half_life").length === 9 * 5, "half-lives of 9 heads");
            const svg = await saved(page, "#save-svg");
            expect(svg.startsWith("<svg") && svg.includes("How fast it forgets") && !/NaN|undefined|var\(/.test(svg), "a figure");
            await page.getByRole("radio", { name: "Looked at" }).check();
            await accessible(page, `attention, ${colorScheme}`);
            await page.locator(".tokens").focus();
            await page.keyboard.press("ArrowLeft");
            expect(/Token \d+ “.*” looked at “.*\d+ %/.test(await page.locator("#memory-detail").innerText()), "where a token looked");
            if (colorScheme === "light") {
                await page.locator("#memory-body").evaluate((e) => (e.scrollTop = 420));
                await shot(page, "memory-attention");
            }
            await page.locator("#memory-body").evaluate((e) => (e.scrollTop = e.scrollHeight));
            await shot(page, "memory-" + colorScheme);
            const unseen = page.getByText("Underlined: came from the cache");
            await page.getByRole("radio", { name: "Written" }).check();
            await goOn(page, "Then");
            expect(!(await unseen.count()), "what was seen before is still known");
            await page.keyboard.press("Escape");
            await v.close();
        }
    },

    async "a phone, and nothing that moves"(server) {
        const v = await visitor(server, { viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true, reducedMotion: "reduce" });
        const page = await v.open();
        await set(page, { max_tokens: 60, seed: 4 });
        await page.fill("#message", "The old man looked at the sea, and");
        await page.locator("#send").tap();
        await page.waitForFunction(() => document.querySelector(".document")?.innerText.length > 40);
        expect(await page.evaluate(() => getComputedStyle(document.querySelector(".writing") || document.body, "::after").animationName) === "none", "the cursor blinks");
        await idle(page);
        expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing is wider than the phone");
        await accessible(page, "the page on a phone");
        await shot(page, "page-phone");
        await page.locator("#menu").tap();
        await page.getByRole("button", { name: "New conversation" }).waitFor();
        await accessible(page, "the list on a phone");
        await page.getByRole("button", { name: "The old man", exact: false }).first().tap();
        await page.locator("#open-memory").tap();
        await page.getByRole("button", { name: "Look at this conversation now" }).tap();
        await page.locator("#memory-body svg.figure").nth(2).waitFor();
        await accessible(page, "the memory view on a phone");
        expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "figures fit");
        await page.locator("#memory-body").evaluate((e) => (e.scrollTop = 520));
        await shot(page, "memory-phone");
        await v.close();
    },

    async "a chat with turns, edits and tools, by keyboard alone"() {
        const server = await serve(tiny, 0, "--template", "kimi", "--ctx", "4096"), v = await visitor(server), page = await v.open();
        await shown(page, "Begin a conversation");
        await page.keyboard.press("Tab");
        expect(await page.evaluate(() => document.activeElement.className) === "skip", "the first stop skips to the message box");
        await set(page, { max_tokens: 8, system: "Be brief." });
        await page.locator("#message").focus();
        await page.keyboard.type("Hello");
        await page.keyboard.press("Enter");
        await page.waitForFunction(() => document.querySelectorAll(".turn").length === 2);
        await idle(page);
        await page.keyboard.type("And more");
        await page.keyboard.press("Enter");
        await page.waitForFunction(() => document.querySelectorAll(".turn").length === 4);
        await idle(page);
        await page.getByRole("button", { name: "Edit" }).first().focus();
        await page.keyboard.press("Enter");
        await page.keyboard.press("Control+A");
        await page.keyboard.type("Good evening");
        await page.keyboard.press("Control+Enter");
        await page.waitForFunction(() => document.querySelectorAll(".turn").length === 2);
        await idle(page);
        await page.getByText("2 of 2").waitFor();
        await page.getByRole("button", { name: "Version before" }).first().click();
        expect(await page.locator(".turn").count() === 4, "the first version has its four turns");
        await accessible(page, "a chat");
        await page.locator("#open-settings").click();
        await accessible(page, "the settings");
        await page.keyboard.press("Escape");

        /* A model with random weights calls no tools: an answer that does, as the server would send it. */
        const asked = [];
        await page.route("**/v1/chat/completions", async (route) => {
            asked.push(route.request().postDataJSON());
            if (asked.length > 1) return route.continue();
            const chunks = [{ delta: { tool_calls: [{ index: 0, id: "functions.weather:0", type: "function", function: { name: "weather", arguments: "" } }] } },
                { delta: { tool_calls: [{ index: 0, function: { arguments: '{"city": "Oslo"}' } }] } }, { delta: {}, finish_reason: "tool_calls" }];
            route.fulfill({ contentType: "text/event-stream", body: chunks.map((c) => `data: ${JSON.stringify({ choices: [{ index: 0, ...c }] })}\n\n`).join("") + "data: [DONE]\n\n" });
        });
        const tool = { type: "function", function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } } };
        await page.evaluate(() => (document.getElementById("tools-field").open = true));
        await page.locator("#open-settings").click();
        await page.fill("#tools", JSON.stringify([tool]));
        await page.getByRole("button", { name: "Done" }).click();
        await page.fill("#message", "What is the weather in Oslo?");
        await page.locator("#message").press("Enter");
        await shown(page, "Calls weather");
        await accessible(page, "a call of a tool");
        await page.getByLabel("What weather answers").fill("12 degrees");
        await page.getByRole("button", { name: "Give the results" }).click();
        await page.waitForFunction(() => document.querySelectorAll(".turn").length === 8);
        await idle(page);
        const last = asked[1].messages.slice(-2);
        expect(asked[1].messages[0].content === "Be brief." && asked[1].tools.length === 1, "system prompt and tools are sent");
        expect(last[0].tool_calls[0].function.name === "weather" && last[1].role === "tool" && last[1].tool_call_id === "functions.weather:0", "the result is sent");
        expect(!(await page.locator(".note").count()), "the server takes it: " + (await page.locator(".note").allInnerTexts()));
        await v.close();
        await server.kill("SIGTERM");
    },

    async "keys and limits are explained"() {
        const keys = path.join(scratch, "keys");
        fs.writeFileSync(keys, "a-key-of-more-than-16-letters tester\n", { mode: 0o600 });
        const server = await serve(tales, 0, "--keys", keys, "--rate", "6"), v = await visitor(server), page = await v.open();
        await shown(page, "The server wants an API key.");
        await page.getByRole("button", { name: "Enter the key" }).click();
        await page.fill("#key", "wrong");
        await page.getByRole("button", { name: "Done" }).click();
        await shown(page, "The server wants an API key.");
        await set(page, { key: "a-key-of-more-than-16-letters", max_tokens: 4 });
        await shown(page, "tales-4m");
        await shown(page, "Begin a text");
        await goOn(page, "One");
        for (let i = 0; i < 8 && !(await page.getByText("Too many requests").count()); i++) await goOn(page, "more");
        await shown(page, "Too many requests");
        await shown(page, "Trying again is possible in");
        await page.locator("#trouble").getByRole("button", { name: "Try again" }).waitFor({ timeout: 15000 });
        await v.close();
        await server.kill("SIGTERM");
    },
};

/* ---- */

let failed = 0;
const common = await serve(tales, 0);
for (const [name, test] of Object.entries(tests)) {
    if (process.env.KLINEAR_ONLY && !name.includes(process.env.KLINEAR_ONLY)) continue;
    const began = Date.now();
    try {
        await test(common);
        console.log(`ok      ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    } catch (error) {
        failed++;
        console.log(`FAILED: ${name}: ${error.stack.split("\n").slice(0, 6).join("\n    ")}`);
    }
}
await browser.close();
for (const child of servers) child.kill("SIGTERM");
process.exit(failed ? 1 : 0);
