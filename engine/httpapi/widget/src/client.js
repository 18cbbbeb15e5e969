// The conversation, without a screen: it speaks the chat protocol, keeps the
// transcript and the token, and sees to it that no message is lost.

import { events } from "./events.js";
import { Memory } from "./memory.js";
import { claims, person, refreshIn } from "./token.js";

const TOKEN_WAIT = 10_000;
const TURN_WAIT = 60_000;

const words = {
  network: "No answer arrived. Check your connection and try again.",
  busy: (s) => (s ? `There are too many messages just now. Try again in ${s} second${s === 1 ? "" : "s"}.` : "There are too many messages just now. Try again in a moment."),
  server: "Something went wrong on our side. Try again in a moment.",
  refused: "This message could not be accepted.",
  stale: "That was part of an earlier conversation. Please ask again.",
  changed: "The account changed before this was sent. Send it again if you still want to.",
};

export class Client {
  items = []; // {key, mine: true, text, body, note, retry} | {key, reply, used}
  busy = 0;
  name = ""; // of the verified visitor
  onSignIn = null;

  #env;
  #site; // its address at the gate
  #memory;
  #getToken = null;
  #token = ""; // in memory only
  #refreshAt = 0;
  #timer = 0;
  #asking = null;
  #identified = "";
  #generation = 0; // grows when the page says anew who is there, so that late tokens are dropped
  #epoch = 0; // grows when the conversation is forgotten, so that late answers are dropped
  #queue = Promise.resolve();
  #keys = 0;

  /** env: {base, site, storage, fetch, now, setTimeout, clearTimeout, emit, changed, wake, tellTabs} */
  constructor(env) {
    this.#env = env;
    this.#site = `${env.base}/v1/sites/${encodeURIComponent(env.site)}`;
    this.#memory = new Memory(env.storage, `vouchsafe:${env.base}:${env.site}`, env.now);
  }

  /** The page says how to get a token. Called again, it starts over with the new one. */
  init({ getToken, onSignIn } = {}) {
    if (typeof onSignIn === "function") this.onSignIn = onSignIn;
    if (typeof getToken !== "function") return;
    this.#getToken = getToken;
    this.#drop();
    const generation = this.#generation;
    this.#queue = this.#queue.then(async () => {
      if (generation === this.#generation && (await this.#fresh()) && generation === this.#generation) this.#resume();
    });
  }

  signOut() {
    this.signedOut();
    this.#env.tellTabs();
  }

  /** The visitor signed out, here or in another tab. */
  signedOut() {
    this.#revoke();
    this.#getToken = null;
    this.#drop();
    this.#forget();
    this.#env.emit("signedOut", {});
  }

  /**
   * Tells the gate not to believe the token this tab held any more. Nobody waits
   * for it: the page may be on its way out, and what is forgotten here is
   * forgotten whether or not it arrives.
   */
  #revoke() {
    if (!this.#token) return;
    const { conversation } = this.#memory;
    this.#env.fetch(`${this.#site}/sign-out`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${this.#token}` },
      body: JSON.stringify(conversation ? { conversation } : {}),
      keepalive: true,
      credentials: "omit",
      cache: "no-store",
      referrerPolicy: "no-referrer",
    }).catch(() => {});
  }

  send(text) {
    const message = text.trim();
    if (message) this.#enqueue(this.#say(message, { message }));
  }

  /** Answers a confirm reply. Either button works once. */
  decide(item, yes) {
    if (item.used) return;
    item.used = true;
    const key = yes ? "confirm" : "cancel";
    this.#enqueue(this.#say(yes ? "Yes, go ahead" : "No, leave it", { [key]: item.reply.pending }));
  }

  choose(item, option) {
    if (item.used) return;
    item.used = true;
    this.#enqueue(this.#say(option.label, { message: option.value }));
  }

  retry(item) {
    if (!item.retry) return;
    this.#enqueue(item);
  }

  #say(text, body) {
    const item = { key: ++this.#keys, mine: true, text, body };
    this.items = [...this.items, item];
    return item;
  }

  #show(reply) {
    // Messages that wait for their turn stay below the answer to this one.
    let at = this.items.length;
    while (at > 0 && this.items[at - 1].waiting) at--;
    this.items = [...this.items.slice(0, at), { key: ++this.#keys, reply }, ...this.items.slice(at)];
    this.#env.changed();
  }

  #enqueue(item) {
    item.note = "";
    item.retry = false;
    item.waiting = true;
    this.busy++;
    this.#env.changed();
    this.#queue = this.#queue
      .then(() => {
        item.waiting = false;
        return this.#turn(item, item.body, {});
      })
      .catch((cause) => this.#failed(item, words.server, true, "internal", cause))
      .then(() => {
        this.busy--;
        this.#env.changed();
      });
  }

  #failed(item, note, retry, code) {
    item.note = note;
    item.retry = retry;
    this.#env.changed();
    this.#env.emit("error", { code, message: note });
  }

  /** One request and its replies. tried says what was already tried for it. */
  async #turn(item, body, tried) {
    if (!this.items.includes(item)) return; // forgotten while it waited
    const epoch = this.#epoch;
    const generation = this.#generation;
    const token = await this.#fresh();
    if (epoch !== this.#epoch) return this.#orphan(item, tried, generation, token);
    const conversation = this.#memory.conversation;
    if (!body.message && !conversation) return this.#failed(item, words.stale, false, "conversation_gone");
    const held = [];
    const done = {};
    let response;
    try {
      response = await this.#post(conversation ? { ...body, conversation } : body, token);
      if (epoch !== this.#epoch) return;
      if (response.ok) {
        await this.#read(response, (reply) => {
          if (epoch !== this.#epoch) return;
          // A refusal that a newer token may lift waits until that was tried. One
          // that wants the visitor to sign in afresh is not lifted by a token of
          // the same sign-in, so they are asked at once.
          const renew = reply.type === "sign_in" && reply.code !== "step_up_required";
          if (renew && token && !tried.token && this.#getToken) held.push(reply);
          else this.#reply(item, reply);
          done.types = [...(done.types || []), reply.type];
        }, done);
      }
    } catch {
      if (epoch === this.#epoch) this.#failed(item, words.network, true, "network");
      return;
    }
    if (epoch !== this.#epoch) return;
    if (!response.ok) return this.#problem(item, body, tried, generation, response, token);
    this.#note(done, token);
    if (!held.length) return;
    const newer = await this.#fresh(true);
    if (epoch !== this.#epoch) return this.#orphan(item, { ...tried, token: true }, generation, newer);
    if (newer && newer !== token) {
      const { resume } = held[0];
      return this.#turn(item, resume ? { resume } : body, { ...tried, token: true });
    }
    for (const reply of held) this.#reply(item, reply);
  }

  #post(body, token) {
    const { fetch } = this.#env;
    const headers = { "Content-Type": "application/json", Accept: "text/event-stream, application/json" };
    if (token) headers.Authorization = `Bearer ${token}`;
    return fetch(`${this.#site}/chat`, {
      method: "POST",
      headers,
      body: JSON.stringify(body),
      credentials: "omit",
      cache: "no-store",
      referrerPolicy: "no-referrer",
      signal: AbortSignal.timeout(TURN_WAIT),
    });
  }

  async #read(response, each, done) {
    if (!(response.headers.get("content-type") || "").startsWith("text/event-stream")) {
      const { conversation, identity, replies } = await response.json();
      Object.assign(done, { conversation, identity });
      replies.forEach(each);
      return;
    }
    for await (const { name, data } of events(response.body)) {
      if (name === "reply") {
        each(JSON.parse(data));
      } else if (name === "done") {
        const { conversation, identity } = JSON.parse(data);
        Object.assign(done, { conversation, identity });
        return;
      }
    }
    throw new Error("the stream ended early");
  }

  #reply(item, reply) {
    if (reply.type === "sign_in" && reply.resume) {
      this.#memory.park(reply.resume, item.text);
      item.parked = reply.resume;
    }
    this.#show(reply);
  }

  /** What a finished turn says of the conversation and the visitor. */
  #note(done, token) {
    const { conversation, identity = {} } = done;
    if (conversation) this.#memory.conversation = conversation;
    const verified = identity.state === "verified";
    if (verified && token) this.#memory.who = person(token);
    this.#memory.save();
    if (identity.state === "expired") {
      this.#refreshAt = 0;
      this.#env.emit("identityExpired", {});
    }
    this.name = verified ? identity.name || claims(token).name || "" : "";
    if (verified && this.#identified !== this.#memory.who) {
      this.#identified = this.#memory.who;
      this.#env.emit("identified", { name: this.name });
    }
    this.#env.changed();
    this.#env.emit("reply", { conversation: this.#memory.conversation, types: done.types || [] });
  }

  /**
   * A message whose conversation went because somebody else, or nobody, turned
   * out to be signed in. It goes on as nobody's, but never in another name.
   * Where the page itself announced the change, the message went with it.
   */
  #orphan(item, tried, generation, token) {
    if (generation !== this.#generation || !item.body.message) return;
    this.items = [...this.items, item];
    if (!token) return this.#turn(item, item.body, tried);
    this.#failed(item, words.changed, true, "person_changed");
  }

  async #problem(item, body, tried, generation, response, token) {
    const epoch = this.#epoch;
    const problem = await response.json().catch(() => ({}));
    const { code = "http", detail } = problem;
    const { status } = response;
    if (status === 401 && !tried.token && this.#getToken) {
      this.#env.emit("identityExpired", {});
      const newer = await this.#fresh(true);
      if (epoch !== this.#epoch) return this.#orphan(item, { ...tried, token: true }, generation, newer);
      if (newer && newer !== token) return this.#turn(item, body, { ...tried, token: true });
    }
    if (code === "conversation_of_another") {
      this.#memory.forget();
      if (body.message && !tried.conversation) return this.#turn(item, body, { ...tried, conversation: true });
      return this.#failed(item, words.stale, false, code);
    }
    if (status === 429) {
      const seconds = Number.parseInt(response.headers.get("retry-after"), 10);
      return this.#failed(item, words.busy(seconds > 0 ? seconds : 0), true, code);
    }
    if (status >= 500 || status === 401) return this.#failed(item, words.server, true, code);
    this.#failed(item, typeof detail === "string" && detail ? detail : words.refused, false, code);
  }

  /** Sends what waited for a sign-in, now that somebody is signed in. */
  #resume() {
    const { parked } = this.#memory;
    this.#memory.parked = [];
    this.#memory.save();
    for (const { id, text } of parked) {
      const asked = this.items.find((i) => i.parked === id);
      for (const i of this.items) if (i.reply?.resume === id) i.used = true;
      const item = asked || this.#say(text, {});
      item.body = { resume: id };
      this.#enqueue(item);
    }
    if (parked.length) this.#env.wake();
  }

  #drop() {
    this.#generation++;
    this.#token = "";
    this.#asking = null;
    this.#env.clearTimeout(this.#timer);
  }

  /** Forgets the conversation, in storage, on screen and on its way. */
  #forget() {
    this.#epoch++;
    this.#memory.forget();
    this.#identified = "";
    this.name = "";
    this.items = [];
    this.#env.changed();
  }

  /** A token that is good for a while, "" when nobody is signed in. */
  #fresh(force = false) {
    const { now } = this.#env;
    if (!this.#getToken) return Promise.resolve("");
    if (!force && this.#token && now() < this.#refreshAt) return Promise.resolve(this.#token);
    this.#asking ||= this.#ask(this.#getToken);
    return this.#asking;
  }

  async #ask(getToken) {
    const env = this.#env;
    const generation = this.#generation;
    let timer;
    let token;
    let failed = false;
    try {
      token = await Promise.race([
        Promise.resolve().then(getToken),
        new Promise((_, reject) => { timer = env.setTimeout(() => reject(new Error("slow")), TOKEN_WAIT); }),
      ]);
    } catch {
      failed = true;
    }
    env.clearTimeout(timer);
    if (generation !== this.#generation) return this.#fresh(); // signed out or in again meanwhile
    this.#asking = null;
    if (failed) {
      env.emit("error", { code: "token_failed", message: "getToken failed" });
      // The one at hand may still be good; the gate will say.
      return this.#token;
    }
    this.#token = typeof token === "string" ? token : "";
    const who = this.#token ? person(this.#token) : "";
    if (this.#memory.who && this.#memory.who !== who) this.#forget();
    env.clearTimeout(this.#timer);
    const wait = this.#token ? refreshIn(this.#token, env.now()) : null;
    this.#refreshAt = wait === null ? Infinity : env.now() + wait;
    if (wait !== null) this.#timer = env.setTimeout(() => this.#fresh(true), wait);
    env.changed();
    return this.#token;
  }
}
