// What each of the scripts asks of its target: the same as the tests in Python do.
import assert from "node:assert/strict";

export const { URL_OF_GATEWAY: url, KEY: key, WRONG_KEY: wrongKey, CHAT: chat, EMBED: embed, SEE: see } = process.env;
export const embeds = process.env.EMBEDS === "1";
export const names = [chat, "chat"]; // as it was asked for, or as its upstream calls it where bytes pass

export const QUESTION = "What is the capital of France? Answer in one sentence.";
export const TOO_LONG = "the house is red ".repeat(600);
export const WEATHER = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
export const WHAT = "What is this?";
export const PATCHES = 16; // the tokens that a picture takes, as of eyes.py
export const PICTURE =
  "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR42mP4z8CAFTEMLQkAKP8/wc53yE8AAAAASUVORK5CYII=";
export const CAPITAL = {
  type: "object",
  properties: { country: { type: "string", enum: ["France"] }, capital: { type: "string", enum: ["Paris"] } },
  required: ["country", "capital"],
  additionalProperties: false,
};
export const FRANCE = { country: "France", capital: "Paris" };

export function question(...cities) {
  return `What is the weather in ${cities.join(" and in ")}?`;
}

export async function gathered(stream) {
  const all = [];
  for await (const one of stream) all.push(one);
  return all;
}

// Rejects with a *status*, and with *words* in what it says.
export async function refused(promise, status, words) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.status ?? error.status_code, status, String(error));
    assert.match(String(error.message), words);
    return true;
  });
}
