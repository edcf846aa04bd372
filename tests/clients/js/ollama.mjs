// Ollama's own client for JavaScript.
import assert from "node:assert/strict";
import test from "node:test";
import { Ollama } from "ollama";
import * as shared from "./shared.mjs";

const { chat, embed, embeds, QUESTION, WEATHER, FRANCE, see } = shared;
const knowing = (key) => new Ollama({ host: shared.url, headers: { Authorization: `Bearer ${key}` } });
const client = knowing(shared.key);
const tools = [{ type: "function", function: { name: "get_weather", description: "The weather of a city", parameters: WEATHER } }];

function asked(more = {}, num_predict = 24) {
  return { model: chat, messages: [{ role: "user", content: QUESTION }], options: { temperature: 0, num_predict }, ...more };
}

function weathers(...cities) {
  const tool_calls = cities.map((city) => ({ function: { name: "get_weather", arguments: { city } } }));
  return [
    { role: "user", content: shared.question(...cities) },
    { role: "assistant", content: "", tool_calls },
    ...cities.map(() => ({ role: "tool", tool_name: "get_weather", content: "rain" })),
  ];
}

test("a conversation, and its stream says the same", async () => {
  const whole = await client.chat(asked());
  assert.match(whole.message.content, /Paris/);
  assert.deepEqual([whole.done, whole.done_reason], [true, "stop"]);
  const pieces = await shared.gathered(await client.chat(asked({ stream: true })));
  assert.equal(pieces.map((piece) => piece.message.content).join(""), whole.message.content);
  assert.deepEqual(pieces.map((piece) => piece.done), [...pieces.keys()].map((place) => place === pieces.length - 1));
  assert.equal(pieces.at(-1).eval_count, whole.eval_count);
  const messages = [...asked().messages, whole.message, { role: "user", content: "Thank you." }];
  assert.ok((await client.chat(asked({ messages }, 4))).message.content);
});

test("a completion", async () => {
  const reply = await client.generate({ model: chat, prompt: QUESTION, options: asked().options });
  assert.match(reply.response, /Paris/);
});

test("tools in parallel, streamed, and what follows from them", async () => {
  const messages = [
    ...weathers("Rome", "Oslo"),
    ...weathers("Lima", "Cairo"),
    { role: "user", content: shared.question("Paris", "Berlin") },
  ];
  const pieces = await shared.gathered(await client.chat(asked({ messages, tools, stream: true }, 80)));
  const tool_calls = pieces.flatMap((piece) => piece.message.tool_calls ?? []);
  assert.deepEqual(tool_calls.map((call) => call.function.arguments), [{ city: "Paris" }, { city: "Berlin" }]);
  const results = tool_calls.map((call) => ({ role: "tool", tool_name: call.function.name, content: "snow" }));
  const then = [...messages, { role: "assistant", content: "", tool_calls }, ...results];
  assert.ok((await client.chat(asked({ messages: then, tools }, 4))).eval_count);
});

test("a structured answer", async () => {
  const reply = await client.chat(asked({ format: shared.CAPITAL }, 40));
  assert.deepEqual(JSON.parse(reply.message.content), FRANCE);
});

test("a picture is read", async () => {
  const read = [];
  for (const images of [[], [shared.PICTURE]]) {
    const messages = [{ role: "user", content: shared.WHAT, images }];
    read.push((await client.chat(asked({ model: see, messages }, 4))).prompt_eval_count);
  }
  assert.ok(read[1] - read[0] >= shared.PATCHES);
});

test("a picture for a model of words is refused", async () => {
  const messages = [{ role: "user", content: "What is this?", images: [shared.PICTURE] }];
  await shared.refused(client.chat(asked({ messages })), 400, /image/);
});

test("embeddings", async () => {
  const asking = client.embed({ model: embed, input: ["a cat", "a dog"] });
  if (!embeds) return shared.refused(asking, 400, /cannot be had/);
  assert.deepEqual((await asking).embeddings.map((one) => one.length), [576, 576]);
});

test("the models", async () => {
  const names = (await client.list()).models.map((model) => model.model);
  assert.ok(names.includes(chat) && names.includes(embed));
  assert.ok((await client.show({ model: chat })).capabilities.includes("completion"));
  await shared.refused(client.show({ model: "nobody" }), 404, /nobody/);
});

test("errors", async () => {
  await shared.refused(client.chat(asked({ model: "nobody" })), 404, /nobody/);
  await shared.refused(client.chat(asked({ options: { temperature: "hot" } })), 400, /options\.temperature/);
  const messages = [{ role: "user", content: shared.TOO_LONG }];
  await shared.refused(client.chat(asked({ messages })), 400, /context/);
  await shared.refused(knowing(shared.wrongKey).chat(asked()), 401, /key/);
});
