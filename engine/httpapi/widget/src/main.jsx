/*
 * The Vouchsafe chat widget. One script tag is all a page needs:
 *
 *   <script src="https://gate.example/widget.js" data-site="shop" async></script>
 *
 * Options, as attributes of that tag: data-title, data-greeting,
 * data-position ("right" or "left"), data-accent (a dark CSS colour).
 *
 * A page whose visitor is signed in says how to get a token:
 *
 *   Vouchsafe.init({ getToken: async () => "..." })
 *
 * getToken is called at once, shortly before a token expires, and after a
 * refusal for expiry; null means nobody is signed in. An onSignIn callback
 * beside it replaces the way to the sign-in page. It is given the reply: with
 * the code step_up_required the visitor must sign in anew, at most
 * reply.max_age seconds ago and in one of the ways in reply.acr_values, where
 * these are there; the page they are sent to otherwise gets them in its address.
 *
 * Call init again whenever somebody signs in, and Vouchsafe.signOut() when
 * they sign out: it forgets the conversation, in every tab, and the gate ceases
 * to believe the tokens that the tabs held. Do not hand those out again.
 *
 *   Vouchsafe.open(), .close()
 *   Vouchsafe.ask("Where is my order?")            writes it, the visitor sends it
 *   Vouchsafe.ask("Where is my order?", { send: true })
 *   Vouchsafe.on(event, listener), .off(event, listener)
 *
 * Events: ready; identified {name} once the gate has verified the visitor;
 * identityExpired; signedOut; error {code, message}; reply {conversation, types}.
 *
 * The script loads asynchronously. Calls made before it has arrived are kept
 * if the page first runs this line:
 *
 *   window.Vouchsafe = window.Vouchsafe || new Proxy({ q: [] }, { get: (t, m) => m === "q" ? t.q : (...a) => t.q.push([m, a]) });
 */

import { render } from "preact";
import { Client } from "./client.js";
import style from "./style.js";
import { Chat } from "./view.jsx";

const script = document.currentScript || document.querySelector('script[data-site][src*="/widget.js"]');

function start() {
  const { site, title = "Chat", greeting = "Hello! Ask a question, or say what you would like done.", position, accent } = script.dataset;
  const base = script.src.replace(/\/widget\.js(?:[?#].*)?$/, "");
  const listeners = new Map();
  const past = new Map(); // events that happen once, for listeners that come late

  const emit = (event, detail) => {
    if (event === "ready") past.set(event, detail);
    for (const listener of [...(listeners.get(event) || [])]) call(listener, detail);
  };
  // A listener's mistake is the page's, and is reported as the page's.
  const call = (listener, detail) => {
    try {
      listener(detail);
    } catch (mistake) {
      setTimeout(() => { throw mistake; });
    }
  };

  const ui = {
    open: false,
    draft: "",
    asked: 0,
    set(change) {
      Object.assign(ui, change);
      draw();
    },
  };
  const tabs = typeof BroadcastChannel === "function" ? new BroadcastChannel(`vouchsafe:${base}:${site}`) : null;
  let storage = null; // reading it throws where the visitor has switched it off
  try {
    storage = window.sessionStorage;
  } catch { /* nothing is remembered then */ }

  let wanted = false;
  const draw = () => {
    if (wanted) return;
    wanted = true;
    queueMicrotask(() => {
      wanted = false;
      if (root) render(<Chat client={client} ui={ui} settings={settings} />, root);
    });
  };

  const client = new Client({
    base,
    site,
    storage,
    fetch: (...a) => window.fetch(...a),
    now: Date.now,
    setTimeout: (...a) => window.setTimeout(...a),
    clearTimeout: (...a) => window.clearTimeout(...a),
    emit,
    changed: draw,
    wake: () => ui.set({ open: true }),
    tellTabs: () => tabs?.postMessage("signedOut"),
  });
  if (tabs) {
    tabs.onmessage = ({ data }) => {
      if (data !== "signedOut") return;
      ui.set({ draft: "" });
      client.signedOut();
    };
  }

  const phone = matchMedia("(max-width: 480px)");
  phone.addEventListener("change", draw);
  const settings = { title, greeting, position: position === "left" ? "left" : "right", phone };

  const methods = {
    init: (options) => client.init(options),
    signOut() {
      ui.set({ draft: "" });
      client.signOut();
    },
    open: () => ui.set({ open: true }),
    close: () => ui.set({ open: false }),
    ask(text, { send = false } = {}) {
      const message = String(text);
      ui.set({ open: true, asked: ui.asked + 1, draft: send ? ui.draft : message });
      if (send) client.send(message);
    },
    on(event, listener) {
      if (!listeners.has(event)) listeners.set(event, new Set());
      listeners.get(event).add(listener);
      if (past.has(event)) call(listener, past.get(event));
    },
    off: (event, listener) => void listeners.get(event)?.delete(listener),
  };

  const waiting = window.Vouchsafe?.q;
  window.Vouchsafe = Object.freeze(methods);

  let root = null;
  const mount = () => {
    const host = document.createElement("vouchsafe-chat");
    const shadow = host.attachShadow({ mode: "open" });
    const sheets = [style];
    if (accent && CSS.supports("color", accent)) sheets.push(`:host { --accent: ${accent}; }`);
    shadow.adoptedStyleSheets = sheets.map((text) => {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(text);
      return sheet;
    });
    root = document.createElement("div");
    shadow.append(root);
    document.body.append(host);
    draw();
    if (Array.isArray(waiting)) for (const [method, args] of waiting) methods[method]?.(...args);
    emit("ready", {});
  };
  if (document.body) mount();
  else document.addEventListener("DOMContentLoaded", mount, { once: true });
}

if (!script?.dataset.site) {
  console.error("Vouchsafe: the script tag needs data-site.");
} else if (!window.Vouchsafe || window.Vouchsafe.q) {
  start();
}
