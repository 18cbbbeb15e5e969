import assert from "node:assert/strict";
import { test } from "node:test";
import { alex, jordan, json, page, storage, turn, verified } from "./support.js";

const signIn = (code, resume = "pa_1") => ({ type: "sign_in", code, text: "sign in", url: "http://shop/login", resume });
const result = { type: "result", text: "done" };

test("nobody signed in: no token is sent, and nothing but the message is in the request", async () => {
  const p = page([turn([{ type: "answer", text: "yes" }])]);
  p.client.send("  do you ship abroad?  ");
  await p.settle();
  assert.deepEqual(p.sent, [{ url: "http://gate/v1/sites/demo/chat", body: { message: "do you ship abroad?" }, token: "" }]);
  assert.deepEqual(p.transcript(), ["> do you ship abroad?", "answer"]);
  assert.deepEqual(p.emitted, [["reply", { conversation: "cv_1", types: ["answer"] }]]);
});

test("a token that expired on the way is replaced and the message resumed, once", async () => {
  const tokens = [alex("1"), alex("2")];
  const p = page([verified([result]), turn([signIn("identity_expired")], { conversation: "cv_v", state: "expired" }), verified([result])]);
  p.client.init({ getToken: async () => tokens.shift() });
  p.client.send("first");
  p.client.send("second");
  await p.settle();
  assert.deepEqual(p.sent.map(({ body, token }) => [body, token]), [
    [{ message: "first" }, alex("1")],
    [{ message: "second", conversation: "cv_v" }, alex("1")],
    [{ resume: "pa_1", conversation: "cv_v" }, alex("2")],
  ]);
  assert.deepEqual(p.transcript(), ["> first", "result", "> second", "result"]);
  assert.equal(p.events().filter((e) => e === "identityExpired").length, 1);
});

test("when no newer token is to be had, the visitor sees the sign-in button", async () => {
  const p = page([turn([signIn("identity_expired")], { state: "expired" })]);
  p.client.init({ getToken: async () => alex("1") });
  p.client.send("cancel it");
  await p.settle();
  assert.equal(p.sent.length, 1);
  assert.deepEqual(p.transcript(), ["> cancel it", "sign_in"]);
});

test("a sign-in that is too old shows the button at once, and what waited is sent with a fresh one", async () => {
  const p = page([
    verified([{ type: "sign_in", text: "Again, please.", code: "step_up_required", url: "/login?max_age=300", resume: "pa_1", max_age: 300 }]),
    verified([{ type: "result", text: "Done." }]),
  ]);
  let asked = 0;
  const seen = [];
  p.client.init({ getToken: () => alex(String(++asked)), onSignIn: (reply) => seen.push(reply.code, reply.max_age) });
  p.client.send("cancel order 1001");
  await p.settle();
  assert.equal(asked, 1, "a token of the same sign-in was asked for");
  assert.deepEqual(p.transcript(), ["> cancel order 1001", "sign_in"]);
  p.client.onSignIn(p.client.items[1].reply);
  assert.deepEqual(seen, ["step_up_required", 300]);
  p.client.init({ getToken: () => alex("fresh") });
  await p.settle();
  assert.deepEqual(p.sent[1].body, { resume: "pa_1", conversation: "cv_v" });
  assert.equal(p.sent[1].token, alex("fresh"));
  assert.deepEqual(p.transcript(), ["> cancel order 1001", "sign_in, used", "result"]);
});

test("what waits for a fresh sign-in is resumed on the page that follows it", async () => {
  const store = storage();
  const before = page([verified([{ type: "sign_in", text: "Again.", code: "step_up_required", url: "/login", resume: "pa_1" }])], { store });
  before.client.init({ getToken: () => alex("1") });
  before.client.send("cancel order 1001");
  await before.settle();
  const after = page([verified([{ type: "result", text: "Done." }])], { store });
  after.client.init({ getToken: () => alex("2") });
  await after.settle();
  assert.deepEqual(after.sent.map((s) => s.body), [{ resume: "pa_1", conversation: "cv_v" }]);
});

test("a newer token that is refused as well ends the tries", async () => {
  const tokens = [alex("1"), alex("2"), alex("3")];
  const refusal = () => turn([signIn("identity_expired")], { state: "expired" });
  const p = page([refusal(), refusal()]);
  p.client.init({ getToken: async () => tokens.shift() });
  p.client.send("cancel it");
  await p.settle();
  assert.equal(p.sent.length, 2);
  assert.deepEqual(p.transcript(), ["> cancel it", "sign_in"]);
});

test("a request parked before sign-in is resumed on the page that follows it", async () => {
  const before = page([turn([signIn("identity_absent")])]);
  before.client.send("cancel my subscription");
  await before.settle();
  const after = page([verified([{ type: "confirm", pending: "pa_2", summary: "?" }])], { store: storage(before.store.kept) });
  after.client.init({ getToken: async () => alex() });
  await after.settle();
  assert.deepEqual(after.sent.map((s) => s.body), [{ resume: "pa_1", conversation: "cv_1" }]);
  assert.deepEqual(after.transcript(), ["> cancel my subscription", "confirm"]);
  assert.equal(after.woken(), 1);
  const again = page([], { store: storage(after.store.kept) });
  again.client.init({ getToken: async () => alex() });
  await again.settle();
  assert.deepEqual(again.sent, []);
});

test("signing in on the same page resumes without saying it twice", async () => {
  const p = page([turn([signIn("identity_absent")]), verified([result])]);
  p.client.send("where is my order");
  await p.settle();
  p.client.init({ getToken: async () => alex() });
  await p.settle();
  assert.deepEqual(p.transcript(), ["> where is my order", "sign_in, used", "result"]);
});

test("storage never holds a token", async () => {
  const p = page([verified([result])]);
  p.client.init({ getToken: async () => alex() });
  p.client.send("hello");
  await p.settle();
  const kept = JSON.stringify(p.store.kept);
  assert.ok(kept.includes("cv_v"));
  for (const part of [...alex().split("."), "alex", "hello"]) assert.ok(!kept.includes(part), part);
});

test("signing out forgets everything and tells the other tabs", async () => {
  const p = page([verified([result]), new Response(null, { status: 204 }), turn([result])]);
  p.client.init({ getToken: async () => alex() });
  p.client.send("hello");
  await p.settle();
  p.client.signOut();
  assert.deepEqual([p.client.items, p.store.kept, p.client.name], [[], {}, ""]);
  assert.deepEqual(p.events().slice(-2), ["signedOut", "told tabs"]);
  p.client.send("again");
  await p.settle();
  assert.deepEqual(p.sent.at(-1), { url: "http://gate/v1/sites/demo/chat", body: { message: "again" }, token: "" });
});

test("signing out makes the token worthless, in every tab, whether or not the gate answers", async () => {
  for (const leave of ["signOut", "signedOut"]) {
    for (const answer of [new Response(null, { status: 204 }), json({ code: "audit_unavailable" }, { status: 503 }), new TypeError("offline")]) {
      const p = page([verified([result]), answer]);
      p.client.init({ getToken: async () => alex() });
      p.client.send("hello");
      await p.settle();
      p.client[leave]();
      assert.deepEqual(p.sent[1], { url: "http://gate/v1/sites/demo/sign-out", body: { conversation: "cv_v" }, token: alex(), keepalive: true });
      await p.settle();
      assert.deepEqual([p.client.items, p.store.kept, p.sent.length], [[], {}, 2]);
      p.client[leave](); // nothing is held any more
      assert.equal(p.sent.length, 2);
    }
  }
});

test("who was never signed in has nothing to revoke", async () => {
  const p = page([turn([result])]);
  p.client.send("hello");
  await p.settle();
  p.client.signOut();
  assert.equal(p.sent.length, 1);
});

test("an answer that comes after signing out is dropped", async () => {
  let answer;
  const p = page([() => new Promise((done) => { answer = done; })]);
  p.client.init({ getToken: async () => alex() });
  p.client.send("show my orders");
  await p.settle();
  p.client.signOut();
  answer(verified([result]));
  await p.settle();
  assert.deepEqual([p.client.items, p.store.kept], [[], {}]);
});

test("a late token of the person before is not used", async () => {
  let late;
  const p = page([verified([result])]);
  p.client.init({ getToken: () => new Promise((done) => { late = done; }) });
  await p.settle();
  p.client.init({ getToken: async () => jordan() });
  late(alex());
  p.client.send("hello");
  await p.settle();
  assert.deepEqual(p.sent.map((s) => s.token), [jordan()]);
});

test("another person starts clean", async () => {
  const p = page([verified([result], "cv_alex"), verified([result], "cv_jordan")]);
  p.client.init({ getToken: async () => alex() });
  p.client.send("hello");
  await p.settle();
  p.client.init({ getToken: async () => jordan() });
  await p.settle();
  assert.deepEqual(p.client.items, []);
  p.client.send("hi");
  await p.settle();
  assert.deepEqual(p.sent.at(-1).body, { message: "hi" });
});

test("when the person changed unannounced, a waiting message is held, not sent as someone else", async () => {
  let now = alex();
  const p = page([verified([result], "cv_alex"), json({}, { status: 401 }), verified([result])]);
  p.client.init({ getToken: async () => now });
  p.client.send("hello");
  await p.settle();
  now = jordan();
  p.client.send("cancel my order"); // the gate's 401 makes the widget ask for a token
  await p.settle();
  assert.deepEqual(p.sent.map((s) => s.token), [alex(), alex()]);
  assert.equal(p.client.items.filter((i) => !i.mine).length, 0);
  assert.match(p.transcript()[0], /^> cancel my order \(The account changed/);
});

test("when the site's own sign-in ended unannounced, the message goes on as nobody's", async () => {
  let now = alex();
  const p = page([verified([result]), json({}, { status: 401 }), turn([signIn("identity_absent")])]);
  p.client.init({ getToken: async () => now });
  p.client.send("hello");
  await p.settle();
  now = null;
  p.client.send("cancel my order");
  await p.settle();
  assert.deepEqual(p.sent.at(-1), { url: "http://gate/v1/sites/demo/chat", body: { message: "cancel my order" }, token: "" });
  assert.deepEqual(p.transcript(), ["> cancel my order", "sign_in"]);
});

test("a conversation of another person is left, and the message sent anew", async () => {
  const p = page([turn([result]), json({ code: "conversation_of_another" }, { status: 409 }), turn([result], { conversation: "cv_2" })]);
  p.client.send("one");
  p.client.send("two");
  await p.settle();
  assert.deepEqual(p.sent.map((s) => s.body), [{ message: "one" }, { message: "two", conversation: "cv_1" }, { message: "two" }]);
});

test("what could not be sent is kept, with a way to try again", async () => {
  for (const [answer, note] of [
    [new TypeError("offline"), /No answer arrived/],
    [json({ code: "limited" }, { status: 429, headers: { "retry-after": "7" } }), /in 7 seconds/],
    [json({}, { status: 503 }), /our side/],
    [new Response("<html>", { status: 502 }), /our side/],
    [new Response("event: reply\ndata: {}\n\n", { headers: { "content-type": "text/event-stream" } }), /No answer arrived/],
  ]) {
    const p = page([answer, turn([result])]);
    p.client.send("hello");
    await p.settle();
    const [item] = p.client.items;
    assert.match(item.note, note);
    assert.equal(item.retry, true);
    p.client.retry(item);
    await p.settle();
    assert.equal(item.note, "");
    assert.equal(p.client.items.at(-1).reply.type, "result");
    assert.equal(p.client.busy, 0);
  }
});

test("a message the gate will not take is explained, not repeated", async () => {
  const p = page([json({ code: "message_too_long", detail: "Too long." }, { status: 422 })]);
  p.client.send("hello");
  await p.settle();
  assert.equal(p.client.items[0].note, "Too long.");
  assert.equal(p.client.items[0].retry, false);
});

test("a confirmation is answered once", async () => {
  const p = page([verified([{ type: "confirm", pending: "pa_9", summary: "?" }]), verified([result])]);
  p.client.init({ getToken: async () => alex() });
  p.client.send("cancel order 1002");
  await p.settle();
  const question = p.client.items.at(-1);
  p.client.decide(question, true);
  p.client.decide(question, true);
  p.client.decide(question, false);
  await p.settle();
  assert.deepEqual(p.sent.slice(1).map((s) => s.body), [{ confirm: "pa_9", conversation: "cv_v" }]);
});

test("a getToken that fails leaves the visitor anonymous and says so to the page", async () => {
  const p = page([turn([signIn("identity_absent")])]);
  p.client.init({ getToken: async () => { throw new Error("no"); } });
  p.client.send("my orders");
  await p.settle();
  assert.equal(p.sent[0].token, "");
  assert.ok(p.emitted.some(([e, d]) => e === "error" && d.code === "token_failed"));
  assert.deepEqual(p.transcript(), ["> my orders", "sign_in"]);
});

test("replies stream in as they are known", async () => {
  const lines = [
    'event: reply\ndata: {"type":"result","text":"one"}\n\n',
    'event: reply\ndata: {"type":"result","text":"two"}\n\n',
    'event: done\ndata: {"conversation":"cv_s","identity":{"state":"absent"}}\n\n',
  ];
  const p = page([new Response(lines.join(""), { headers: { "content-type": "text/event-stream; charset=utf-8" } }), turn([])]);
  p.client.send("hello");
  p.client.send("more");
  await p.settle();
  assert.deepEqual(p.transcript(), ["> hello", "result", "result", "> more"]);
  assert.equal(p.sent[1].body.conversation, "cv_s");
});
