// Anthropic's own client for JavaScript.
import assert from "node:assert/strict";
import test from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import * as shared from "./shared.mjs";

const { chat, embed, QUESTION, WEATHER, FRANCE, see } = shared;
const client = new Anthropic({ baseURL: shared.url, apiKey: shared.key, maxRetries: 0, timeout: 120_000 });
const stranger = new Anthropic({ baseURL: shared.url, apiKey: shared.wrongKey, maxRetries: 0 });
const tools = [{ name: "get_weather", description: "The weather of a city", input_schema: WEATHER }];

function asked(more = {}) {
  return { model: chat, messages: [{ role: "user", content: QUESTION }], temperature: 0, max_tokens: 24, ...more };
}

function weathers(number, ...cities) {
  const calls = cities.map((city) => ({ type: "tool_use", id: `toolu_${number}${city}`, name: "get_weather", input: { city } }));
  return [
    { role: "user", content: shared.question(...cities) },
    { role: "assistant", content: calls },
    { role: "user", content: calls.map(({ id }) => ({ type: "tool_result", tool_use_id: id, content: "rain" })) },
  ];
}

test("a conversation, and its stream says the same", async () => {
  const whole = await client.messages.create(asked());
  assert.match(whole.content[0].text, /Paris/);
  assert.equal(whole.stop_reason, "end_turn");
  assert.ok(shared.names.includes(whole.model));
  const stream = client.messages.stream(asked());
  const texts = [];
  stream.on("text", (text) => texts.push(text));
  const final = await stream.finalMessage();
  assert.ok(texts.length > 1);
  assert.equal(texts.join(""), whole.content[0].text);
  assert.equal(final.content[0].text, whole.content[0].text);
  assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
  const messages = [...asked().messages, { role: "assistant", content: whole.content }, { role: "user", content: "Thank you." }];
  assert.ok((await client.messages.create(asked({ messages, max_tokens: 4 }))).content.length);
});

test("tools in parallel, streamed, and what follows from them", async () => {
  const messages = [
    ...weathers(1, "Rome", "Oslo"),
    ...weathers(2, "Lima", "Cairo"),
    { role: "user", content: shared.question("Paris", "Berlin") },
  ];
  const message = await client.messages.stream(asked({ messages, tools, max_tokens: 80 })).finalMessage();
  assert.equal(message.stop_reason, "tool_use");
  const calls = message.content.filter((block) => block.type === "tool_use");
  assert.deepEqual(calls.map((call) => call.input), [{ city: "Paris" }, { city: "Berlin" }]);
  const results = calls.map(({ id }) => ({ type: "tool_result", tool_use_id: id, content: "snow" }));
  const then = [...messages, { role: "assistant", content: message.content }, { role: "user", content: results }];
  assert.ok((await client.messages.create(asked({ messages: then, tools, max_tokens: 4 }))).usage.output_tokens);
});

test("a structured answer", async () => {
  const format = { type: "json_schema", schema: shared.CAPITAL };
  const { content } = await client.messages.create(asked({ output_config: { format }, max_tokens: 40 }));
  assert.deepEqual(JSON.parse(content[0].text), FRANCE);
});

test("a picture is read", async () => {
  const words = { type: "text", text: shared.WHAT };
  const image = { type: "image", source: { type: "base64", media_type: "image/png", data: shared.PICTURE } };
  const read = [];
  for (const content of [[words], [words, image]]) {
    const { usage } = await client.messages.create(asked({ model: see, max_tokens: 4, messages: [{ role: "user", content }] }));
    read.push(usage.input_tokens + (usage.cache_read_input_tokens ?? 0));
  }
  assert.ok(read[1] - read[0] >= shared.PATCHES);
});

test("a picture for a model of words is refused", async () => {
  const image = { type: "image", source: { type: "base64", media_type: "image/png", data: shared.PICTURE } };
  await shared.refused(client.messages.create(asked({ messages: [{ role: "user", content: [image] }] })), 400, /image/);
});

test("tokens are counted", async () => {
  const { input_tokens } = await client.messages.countTokens({ model: chat, messages: asked().messages });
  assert.ok(input_tokens > 8);
});

test("the models", async () => {
  const names = (await shared.gathered(client.models.list())).map((model) => model.id);
  assert.ok(names.includes(chat) && names.includes(embed));
  assert.equal((await client.models.retrieve(chat)).id, chat);
  await shared.refused(client.models.retrieve("nobody"), 404, /nobody/);
});

test("errors", async () => {
  await shared.refused(client.messages.create(asked({ model: "nobody" })), 404, /nobody/);
  await shared.refused(client.messages.create(asked({ messages: [{ role: "user", content: 7 }] })), 400, /messages/);
  const messages = [{ role: "user", content: shared.TOO_LONG }];
  await shared.refused(client.messages.create(asked({ messages })), 400, /prompt is too long/);
  await shared.refused(stranger.messages.create(asked()), 401, /key/);
});
