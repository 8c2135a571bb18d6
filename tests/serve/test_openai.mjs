// usage: node test_openai.mjs URL: OpenAI's own client against the server, unchanged.
// The package openai is looked for in the folder that KLINEAR_OPENAI names (its node_modules), else in the present one.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import path from "node:path";

const folder = process.env.KLINEAR_OPENAI || process.cwd();
let OpenAI;
try {
    const found = createRequire(path.join(folder, "x.js")).resolve("openai");
    OpenAI = (await import(pathToFileURL(found))).default;
    OpenAI = OpenAI.OpenAI || OpenAI;
} catch (error) {
    console.log("skipped: npm's package openai is not in " + folder + ": " + error.message.split("\n")[0]);
    process.exit(77);
}

function expect(fine, sentence) {
    if (!fine) {
        console.log("FAILED: " + sentence);
        process.exit(1);
    }
}

const client = new OpenAI({ baseURL: process.argv[2] + "/v1", apiKey: "none", maxRetries: 0 });
const messages = [{ role: "system", content: "Be brief." }, { role: "user", content: "Hello" }];
const settings = { model: "any", messages, max_tokens: 12, seed: 5 };

const models = [];
for await (const model of client.models.list()) models.push(model.id);
expect(models.length === 1, "one model");
expect((await client.models.retrieve(models[0])).id === models[0], "the model by name");

const whole = await client.chat.completions.create(settings);
const content = whole.choices[0].message.content;
expect(typeof content === "string" && whole.usage.completion_tokens === 12, "a chat completion");

let text = "", usage;
const stream = await client.chat.completions.create({ ...settings, stream: true, stream_options: { include_usage: true } });
for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content || "";
    usage = chunk.usage || usage;
}
expect(text === content, "the same text in a stream");
expect(usage.total_tokens === usage.prompt_tokens + 12, "usage in a stream");

const helper = client.chat.completions.stream({ ...settings, logprobs: true, top_logprobs: 2 });
const final = await helper.finalChatCompletion();
expect(final.choices[0].message.content === content, "the stream helper");
expect(final.choices[0].logprobs.content.every((entry) => entry.top_logprobs.length === 2), "log-probabilities");

const tools = [{ type: "function", function: { name: "clock", description: "The time", parameters: { type: "object", properties: {} } } }];
const encoded = await (await fetch(process.argv[2] + "/tokenize", {
    method: "POST", body: JSON.stringify({ content: "<|tool_call_end|>", parse_special: true }) })).json();
const called = {
    ...settings, tools, tool_choice: { type: "function", function: { name: "clock" } }, parallel_tool_calls: false,
    logit_bias: { [encoded.tokens[0]]: 100 } };
const call = (await client.chat.completions.create(called)).choices[0];
expect(call.finish_reason === "tool_calls" && call.message.tool_calls[0].function.name === "clock", "a call");
const streamed = await client.chat.completions.stream(called).finalChatCompletion();
expect(streamed.choices[0].message.tool_calls[0].id === call.message.tool_calls[0].id, "a call in a stream");
const after = await client.chat.completions.create({ ...settings, tools, messages: [...messages, call.message,
    { role: "tool", tool_call_id: call.message.tool_calls[0].id, content: "noon" }] });
expect(after.usage.prompt_tokens > whole.usage.prompt_tokens, "the answer of a tool");

const completion = await client.completions.create({ model: "any", prompt: "One, two", max_tokens: 6, seed: 1, logprobs: 1 });
expect(completion.choices[0].logprobs.tokens.length === 6, "a text completion");
let pieces = "";
for await (const chunk of await client.completions.create({ model: "any", prompt: "One, two", max_tokens: 6, seed: 1, stream: true }))
    pieces += chunk.choices[0].text;
expect(pieces === completion.choices[0].text, "a text completion in a stream");

const vectors = await client.embeddings.create({ model: "any", input: ["One", "two"] });
const square = vectors.data[0].embedding.reduce((sum, x) => sum + x * x, 0);
expect(vectors.data.length === 2 && Math.abs(square - 1) < 1e-5, "embeddings");

const response = await client.responses.create({ model: "any", input: "Hello", instructions: "Be brief.", seed: 5,
    max_output_tokens: 12 });
expect(response.output_text === content && response.status === "incomplete", "a response: " + response.output_text);
const kinds = [];
let said = "", ended;
for await (const event of await client.responses.create({ model: "any", seed: 5, max_output_tokens: 12, stream: true,
    input: [{ role: "system", content: "Be brief." }, { role: "user", content: [{ type: "input_text", text: "Hello" }] }] })) {
    expect(event.sequence_number === kinds.length, "events are numbered");
    kinds.push(event.type);
    said += event.type === "response.output_text.delta" ? event.delta : "";
    ended = event.response || ended;
}
expect(said === content && kinds[0] === "response.created" && kinds.at(-1) === "response.incomplete", kinds.join(" "));
expect(ended.output[0].content[0].text === content, "the last event has all of it");
const asked = await client.responses.create({ model: "any", seed: 5, max_output_tokens: 6,
    tools: [{ type: "function", name: "clock", parameters: { type: "object", properties: {} } }],
    input: [{ role: "user", content: "Hello" }, { type: "function_call", call_id: "c1", name: "clock", arguments: "{}" },
        { type: "function_call_output", call_id: "c1", output: "noon" }] });
expect(asked.usage.input_tokens > response.usage.input_tokens, "the answer of a tool in a response");

for (const [wrong, status, word] of [[{ temperature: 9 }, 400, "temperature"], [{ messages: [] }, 400, "messages"]]) {
    try {
        await client.chat.completions.create({ ...settings, ...wrong });
        expect(false, "a refusal");
    } catch (error) {
        expect(error instanceof OpenAI.BadRequestError && error.status === status && error.param === word, String(error));
    }
}

const aborted = await client.chat.completions.create({ ...settings, max_tokens: 4000, stream: true });
for await (const chunk of aborted) {
    if (chunk.choices[0].delta.content) break; // the client closes the connection
}
for (let i = 0; i < 100; i++) {
    const slots = await (await fetch(process.argv[2] + "/slots")).json();
    if (slots.length === 0) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(i < 99, "an aborted stream goes on");
}
console.log("fine");
