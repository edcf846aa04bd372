// OpenAI's own client for JavaScript: its Responses.
import assert from "node:assert/strict";
import test from "node:test";
import OpenAI from "openai";
import * as shared from "./shared.mjs";

const { chat, QUESTION, WEATHER, FRANCE, see } = shared;
const client = new OpenAI({ baseURL: `${shared.url}/v1`, apiKey: shared.key, maxRetries: 0, timeout: 120_000 });
const stranger = new OpenAI({ baseURL: `${shared.url}/v1`, apiKey: shared.wrongKey, maxRetries: 0 });
const tools = [
  { type: "function", name: "get_weather", description: "The weather of a city", parameters: WEATHER, strict: false },
];

function asked(more = {}) {
  return { model: chat, input: QUESTION, temperature: 0, max_output_tokens: 24, ...more };
}

function weathers(number, ...cities) {
  const ids = cities.map((city) => `call_${number}${city}`);
  return [
    { role: "user", content: shared.question(...cities) },
    ...cities.map((city, place) => ({
      type: "function_call",
      call_id: ids[place],
      name: "get_weather",
      arguments: JSON.stringify({ city }),
    })),
    ...ids.map((call_id) => ({ type: "function_call_output", call_id, output: "rain" })),
  ];
}

test("a conversation, and its stream says the same", async () => {
  const whole = await client.responses.create(asked());
  assert.match(whole.output_text, /Paris/);
  assert.equal(whole.status, "completed");
  const stream = client.responses.stream(asked());
  const events = await shared.gathered(stream);
  assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
  assert.ok(events.filter((event) => event.type === "response.output_text.delta").length > 1);
  const final = await stream.finalResponse();
  assert.equal(final.output_text, whole.output_text);
  assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
  const input = [{ role: "user", content: QUESTION }, ...whole.output, { role: "user", content: "Thank you." }];
  assert.ok((await client.responses.create(asked({ input, max_output_tokens: 16 }))).output_text);
});

test("tools in parallel, streamed, and what follows from them", async () => {
  const input = [
    ...weathers(1, "Rome", "Oslo"),
    ...weathers(2, "Lima", "Cairo"),
    { role: "user", content: shared.question("Paris", "Berlin") },
  ];
  const { output } = await client.responses.stream(asked({ input, tools, max_output_tokens: 80 })).finalResponse();
  const calls = output.filter((item) => item.type === "function_call");
  assert.deepEqual(calls.map((call) => JSON.parse(call.arguments)), [{ city: "Paris" }, { city: "Berlin" }]);
  const results = calls.map(({ call_id }) => ({ type: "function_call_output", call_id, output: "snow" }));
  const then = await client.responses.create(asked({ input: [...input, ...output, ...results], max_output_tokens: 16 }));
  assert.ok(then.output_text);
});

test("a conversation that is kept", async () => {
  const first = await client.responses.create(asked());
  const stream = client.responses.stream(asked({ input: "And of Italy?", previous_response_id: first.id }));
  const second = await stream.finalResponse();
  assert.equal(second.previous_response_id, first.id);
  assert.ok(first.usage.input_tokens < second.usage.input_tokens);
  const again = await client.responses.retrieve(second.id);
  assert.equal(again.output_text, second.output_text);
  assert.deepEqual(again.output.map((item) => item.id), second.output.map((item) => item.id));
  const told = await shared.gathered(client.responses.inputItems.list(second.id, { limit: 2 }));
  assert.equal(told.length, 3);
  await client.responses.delete(second.id);
  await shared.refused(client.responses.retrieve(second.id), 404, /not found/);
  await shared.refused(client.responses.create(asked({ previous_response_id: second.id })), 400, /not found/);
});

test("conversations", async () => {
  const { id } = await client.conversations.create({ items: [{ role: "user", content: "A note." }], metadata: { a: "b" } });
  const reply = await client.responses.create(asked({ conversation: id }));
  assert.equal(reply.conversation.id, id);
  const items = await shared.gathered(client.conversations.items.list(id, { order: "asc", limit: 2 }));
  assert.deepEqual(items.map((item) => item.role), ["user", "user", "assistant"]);
  assert.deepEqual(await client.conversations.items.retrieve(items[0].id, { conversation_id: id }), items[0]);
  await client.conversations.items.delete(items[0].id, { conversation_id: id });
  assert.equal((await shared.gathered(client.conversations.items.list(id))).length, 2);
  assert.deepEqual((await client.conversations.update(id, { metadata: { c: "d" } })).metadata, { c: "d" });
  assert.equal((await client.conversations.delete(id)).deleted, true);
  await shared.refused(client.conversations.retrieve(id), 404, /not found/);
});

test("a structured answer", async () => {
  const format = { type: "json_schema", name: "capital", schema: shared.CAPITAL, strict: true };
  const parsed = await client.responses.parse(asked({ text: { format }, max_output_tokens: 40 }));
  assert.deepEqual(parsed.output_parsed, FRANCE);
});

test("a picture is read", async () => {
  const words = { type: "input_text", text: shared.WHAT };
  const image = { type: "input_image", image_url: `data:image/png;base64,${shared.PICTURE}` };
  const read = [];
  for (const content of [[words], [words, image]]) {
    const reply = await client.responses.create(asked({ model: see, max_output_tokens: 16, input: [{ role: "user", content }] }));
    read.push(reply.usage.input_tokens);
  }
  assert.ok(read[1] - read[0] >= shared.PATCHES);
});

test("a picture for a model of words is refused", async () => {
  const image = { type: "input_image", image_url: `data:image/png;base64,${shared.PICTURE}` };
  await shared.refused(client.responses.create(asked({ input: [{ role: "user", content: [image] }] })), 400, /image/);
});

test("errors", async () => {
  await shared.refused(client.responses.create(asked({ model: "nobody" })), 404, /nobody/);
  await shared.refused(client.responses.create(asked({ input: [{ role: "user", content: 7 }] })), 400, /./);
  const long = await client.responses.create(asked({ input: shared.TOO_LONG })).catch((error) => error);
  assert.deepEqual([long.status, long.code], [400, "context_length_exceeded"]);
  await shared.refused(stranger.responses.create(asked()), 401, /key/);
});
