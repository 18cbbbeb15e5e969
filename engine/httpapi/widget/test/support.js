// A page and a gate to try the client against.

import { Client } from "../src/client.js";

export function token(payload) {
  return `e30.${Buffer.from(JSON.stringify(payload)).toString("base64url")}.c2ln`;
}

export const alex = (jti = "1") => token({ iss: "shop", sub: "alex", jti, exp: 1_900_000_000 });
export const jordan = () => token({ iss: "shop", sub: "jordan", exp: 1_900_000_000 });

export function storage(kept = {}) {
  return { kept, getItem: (k) => kept[k] ?? null, setItem: (k, v) => { kept[k] = v; }, removeItem: (k) => { delete kept[k]; } };
}

export const json = (body, { status = 200, headers = {} } = {}) =>
  new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json", ...headers } });

/** A turn's answer. */
export const turn = (replies, { conversation = "cv_1", state = "absent" } = {}) => json({ conversation, identity: { state }, replies });
export const verified = (replies, conversation = "cv_v") => turn(replies, { conversation, state: "verified" });

/** A client whose gate gives these answers, in order. */
export function page(answers, { store = storage() } = {}) {
  const sent = [];
  const emitted = [];
  let woken = 0;
  const client = new Client({
    base: "http://gate",
    site: "demo",
    storage: store,
    fetch: async (url, { body, headers, keepalive }) => {
      sent.push({ url, body: JSON.parse(body), token: headers.Authorization?.slice(7) || "", ...(keepalive && { keepalive }) });
      const answer = answers.shift();
      if (answer instanceof Error || !answer) throw answer || new Error("the gate was asked once too often");
      return typeof answer === "function" ? answer() : answer;
    },
    now: () => 1_800_000_000_000,
    setTimeout: (f, ms) => { const t = setTimeout(f, ms); t.unref(); return t; },
    clearTimeout,
    emit: (event, detail) => emitted.push([event, detail]),
    changed: () => {},
    wake: () => { woken++; },
    tellTabs: () => emitted.push(["told tabs"]),
  });
  const settle = async () => {
    for (let i = 0; i < 40; i++) await new Promise((done) => setImmediate(done));
  };
  const transcript = () => client.items.map((i) => (i.mine ? `> ${i.text}${i.note ? ` (${i.note})` : ""}` : `${i.reply.type}${i.used ? ", used" : ""}`));
  return { client, sent, emitted, store, settle, transcript, woken: () => woken, events: () => emitted.map(([e]) => e) };
}
