import assert from "node:assert/strict";
import { test } from "node:test";
import { events } from "../src/events.js";

const text = ': hello\n\nevent: reply\ndata: {"a":\ndata: "é"}\nid: 7\n\nevent: done\r\ndata:x\r\n\r\nevent: cut\ndata: never finished';

async function read(chunks) {
  const got = [];
  for await (const e of events(ReadableStream.from(chunks))) got.push(e);
  return got;
}

test("the same events come out however the bytes are cut", async () => {
  const bytes = new TextEncoder().encode(text);
  const want = [{ name: "reply", data: '{"a":\n"é"}' }, { name: "done", data: "x" }];
  for (let size = 1; size <= bytes.length; size++) {
    const chunks = [];
    for (let i = 0; i < bytes.length; i += size) chunks.push(bytes.slice(i, i + size));
    assert.deepEqual(await read(chunks), want, `chunks of ${size}`);
  }
});
