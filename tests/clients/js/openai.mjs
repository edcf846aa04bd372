// OpenAI's own client for JavaScript: its chat and what is beside it.
import assert from "node:assert/strict";
import test from "node:test";
import OpenAI from "openai";
import * as shared from "./shared.mjs";

const { chat, embed, embeds, QUESTION, WEATHER, FRANCE, see } = shared;
const client = new OpenAI({ baseURL: `${shared.url}/v1`, apiKey: shared.key, maxRetries: 0, timeout: 120_000 });
const stranger = new OpenAI({ baseURL: `${shared.url}/v1`, apiKey: shared.wrongKey, maxRetries: 0 });
const tools = [{ type: "function", function: { name: "get_weather", description: "The weather of a city", parameters: WEATHER } }];

function asked(more = {}) {
  return { model: chat, messages: [{ role: "user", content: QUESTION }], temperature: 0, max_tokens: 24, ...more };
}

function weathers(number, ...cities) {
  const calls = cities.map((city) => ({
    id: `call_${number}${city}`,
    type: "function",
    function: { name: "get_weather", arguments: JSON.stringify({ city }) },
  }));
  return [
    { role: "user", content: shared.question(...cities) },
    { role: "assistant", content: null, tool_calls: calls },
    ...calls.map(({ id }) => ({ role: "tool", tool_call_id: id, content: "rain" })),
  ];
}

test("a conversation, and its stream says the same", async () => {
  const whole = await client.chat.completions.create(asked());
  assert.match(whole.choices[0].message.content, /Paris/);
  assert.equal(whole.choices[0].finish_reason, "stop");
  assert.ok(shared.names.includes(whole.model));
  const stream = client.chat.completions.stream(asked({ stream_options: { include_usage: true } }));
  const chunks = await shared.gathered(stream);
  assert.ok(chunks.length > 3);
  const final = await stream.finalChatCompletion();
  assert.equal(final.choices[0].message.content, whole.choices[0].message.content);
  assert.equal(final.usage.completion_tokens, whole.usage.completion_tokens);
  const messages = [...asked().messages, whole.choices[0].message, { role: "user", content: "Thank you." }];
  const then = await client.chat.completions.create(asked({ messages, max_tokens: 4 }));
  assert.ok(then.choices[0].message.content);
});

test("tools in parallel, streamed, and what follows from them", async () => {
  const messages = [
    ...weathers(1, "Rome", "Oslo"),
    ...weathers(2, "Lima", "Cairo"),
    { role: "user", content: shared.question("Paris", "Berlin") },
  ];
  const stream = client.chat.completions.stream(asked({ messages, tools, max_tokens: 80 }));
  const { message, finish_reason } = (await stream.finalChatCompletion()).choices[0];
  assert.equal(finish_reason, "tool_calls");
  const cities = message.tool_calls.map((call) => JSON.parse(call.function.arguments));
  assert.deepEqual(cities, [{ city: "Paris" }, { city: "Berlin" }]);
  const results = message.tool_calls.map(({ id }) => ({ role: "tool", tool_call_id: id, content: "snow" }));
  const then = asked({ messages: [...messages, message, ...results], tools, max_tokens: 4 });
  assert.ok((await client.chat.completions.create(then)).usage.completion_tokens);
});

test("a structured answer", async () => {
  const response_format = { type: "json_schema", json_schema: { name: "capital", schema: shared.CAPITAL, strict: true } };
  const parsed = await client.chat.completions.parse(asked({ response_format, max_tokens: 40 }));
  assert.deepEqual(parsed.choices[0].message.parsed, FRANCE);
});

test("a picture is read", async () => {
  const words = { type: "text", text: shared.WHAT };
  const image = { type: "image_url", image_url: { url: `data:image/png;base64,${shared.PICTURE}` } };
  const read = [];
  for (const content of [[words], [words, image]]) {
    const reply = await client.chat.completions.create(asked({ model: see, max_tokens: 4, messages: [{ role: "user", content }] }));
    read.push(reply.usage.prompt_tokens);
  }
  assert.ok(read[1] - read[0] >= shared.PATCHES);
});

test("a picture for a model of words is refused", async () => {
  const image = { type: "image_url", image_url: { url: `data:image/png;base64,${shared.PICTURE}` } };
  await shared.refused(client.chat.completions.create(asked({ messages: [{ role: "user", content: [image] }] })), 400, /image/);
});

test("embeddings", async () => {
  const asking = client.embeddings.create({ model: embed, input: ["a cat", "a dog"] });
  if (!embeds) return shared.refused(asking, 400, /cannot be had/);
  const { data } = await asking;
  assert.deepEqual(data.map((one) => one.embedding.length), [576, 576]);
});

test("the models", async () => {
  const names = (await shared.gathered(client.models.list())).map((model) => model.id);
  assert.ok(names.includes(chat) && names.includes(embed));
  assert.equal((await client.models.retrieve(chat)).id, chat);
  await shared.refused(client.models.retrieve("nobody"), 404, /nobody/);
});

test("errors", async () => {
  await shared.refused(client.chat.completions.create(asked({ model: "nobody" })), 404, /nobody/);
  await shared.refused(client.chat.completions.create(asked({ temperature: "hot" })), 400, /./);
  const messages = [{ role: "user", content: shared.TOO_LONG }];
  const long = await client.chat.completions.create(asked({ messages })).catch((error) => error);
  assert.deepEqual([long.status, long.code], [400, "context_length_exceeded"]);
  await shared.refused(stranger.chat.completions.create(asked()), 401, /key/);
});
