// What outlives the page, for this tab only: the conversation's id and the
// requests parked until the visitor has signed in. Never a token, never a
// transcript.

const KEPT = 30 * 60_000;
const MOST = 3;

export class Memory {
  #storage;
  #key;
  #now;

  constructor(storage, key, now) {
    this.#storage = storage;
    this.#key = key;
    this.#now = now;
    this.#clear();
    try {
      const old = JSON.parse(storage.getItem(key));
      if (typeof old.conversation === "string") this.conversation = old.conversation;
      if (typeof old.who === "string") this.who = old.who;
      if (Array.isArray(old.parked)) this.parked = old.parked.filter((p) => p && typeof p.id === "string" && now() - p.at < KEPT);
    } catch { /* nothing stored, storage switched off, or not ours */ }
  }

  #clear() {
    this.conversation = "";
    this.who = ""; // digest of the person the conversation belongs to
    this.parked = [];
  }

  save() {
    try {
      const { conversation, who, parked } = this;
      this.#storage.setItem(this.#key, JSON.stringify({ conversation, who, parked }));
    } catch { /* then the tab forgets on reload */ }
  }

  park(id, text) {
    this.parked = [...this.parked.filter((p) => p.id !== id), { id, text, at: this.#now() }].slice(-MOST);
    this.save();
  }

  forget() {
    this.#clear();
    try {
      this.#storage.removeItem(this.#key);
    } catch { /* storage switched off */ }
  }
}
