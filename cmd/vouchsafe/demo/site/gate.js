// The panel of decisions that this page caused.
"use strict";

(() => {
  const { gate, site } = document.body.dataset;
  const list = document.getElementById("decisions");
  const hint = document.getElementById("decisions-hint");
  const stored = `harbor-conversations:${site}`;
  let conversations = [];
  try {
    conversations = JSON.parse(sessionStorage.getItem(stored)) || [];
  } catch { /* storage is off, or holds something else */ }

  const why = {
    identity_absent: "Nobody is signed in, and this concerns a customer.",
    identity_invalid: "The token does not verify, so it proves nothing.",
    identity_expired: "The token was good once, but has expired.",
    identity_too_long_lived: "The token lives longer than this shop allows.",
    identity_revoked: "This token was withdrawn.",
    email_unverified: "The shop does not vouch for this e-mail address.",
    target_mismatch: "It names somebody other than the customer who signed in.",
    tier_insufficient: "The shop’s plan does not include this.",
    unknown_action: "The shop offers no such action.",
    invalid_arguments: "The request does not fit what the action takes.",
    not_found: "No such record belongs to this customer.",
    not_owner: "The record is somebody else’s, so it was withheld.",
    unsupported_obligation: "The policy asked for something the gate cannot enforce.",
    policy_error: "The policy could not be evaluated, and that means no.",
    audit_unavailable: "The decision could not be written down, so nothing was done.",
    wall: "The second lock, in Go, refused what the policy allowed.",
  };
  const outcomes = {
    done: "done",
    asked: "asked first, before anything else",
    confirmation_required: "waiting for a yes",
    not_found: "the visitor was told that there is no such record",
    connector_failed: "the shop’s system refused or failed", connector_timeout: "the shop’s system did not answer",
    outcome_unknown: "unknown: the shop’s system did not answer",
  };
  // "not_found, 1 withheld: not_owner" is what the audit says of a record that
  // came back and was somebody else's.
  function outcome(text) {
    const [code, withheld] = text.split(", ");
    const said = outcomes[code] || code;
    return withheld ? `withheld: the record is somebody else’s; ${said}` : said;
  }
  const states = {
    verified: (i) => `verified: ${i.email || "no e-mail"}`,
    expired: () => "token expired",
    invalid: () => "token not valid",
    absent: () => "nobody signed in",
  };

  const element = (tag, name, text) => {
    const e = document.createElement(tag);
    if (name) e.className = name;
    if (text) e.textContent = text;
    return e;
  };

  function entry(d) {
    const item = element("li", d.allow ? "allowed" : "denied");
    item.dataset.decision = d.id;
    const head = element("p", "head");
    head.append(element("b", "", d.allow ? "Allowed" : "Denied"), element("code", "", d.action));
    const identity = d.identity || {};
    const who = element("p", "who", (states[identity.state] || states.absent)(identity));
    if (d.outcome) who.append(" · ", element("span", d.outcome.includes("withheld") ? "outcome withheld" : "outcome", outcome(d.outcome)));
    item.append(head, who);
    item.title = new Date(d.time).toLocaleTimeString("en-GB");
    if (!d.allow) item.append(element("p", "why", why[d.code] || d.audit || d.code));
    const asserted = (d.asserted || []).filter((a) => typeof a === "string");
    if (asserted.length) item.append(element("p", "asserted", `The visitor named ${asserted.join(", ")}: noted as evidence, never used.`));
    return item;
  }

  let shown = "";
  let asking = false;
  async function refresh() {
    if (asking || document.hidden || !conversations.length) return;
    asking = true;
    try {
      const answer = await fetch(`${gate}/demo/decisions`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ conversations }),
      });
      if (!answer.ok) throw new Error(String(answer.status));
      const text = await answer.text();
      if (text === shown) return;
      shown = text;
      const { decisions } = JSON.parse(text);
      hint.hidden = decisions.length > 0;
      list.replaceChildren(...decisions.map(entry));
    } catch {
      hint.hidden = false;
      hint.textContent = "The gate did not answer. Is it still running?";
      shown = "";
    } finally {
      asking = false;
    }
  }

  Vouchsafe.on("reply", ({ conversation }) => {
    if (conversation && !conversations.includes(conversation)) {
      conversations = [...conversations, conversation].slice(-8); // as many as the gate lists at once
      try {
        sessionStorage.setItem(stored, JSON.stringify(conversations));
      } catch { /* the panel then forgets on reload */ }
    }
    refresh();
  });
  setInterval(refresh, 1500);
  refresh();
})();
