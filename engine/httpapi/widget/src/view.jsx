// The chat window. Text is only ever text; nothing from a reply becomes markup.

import { useEffect, useLayoutEffect, useRef } from "preact/hooks";

const LIMIT = 4000; // bytes of a message
const bytes = (text) => new TextEncoder().encode(text).length;

/** The address if it is one a link may point to. */
export function web(address, base) {
  try {
    const url = new URL(address, base);
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : "";
  } catch {
    return "";
  }
}

function Citations({ list }) {
  if (!Array.isArray(list) || !list.length) return null;
  const seen = new Set();
  return (
    <ul class="sources" aria-label="Sources">
      {list.map(({ title, document: id, url }) => {
        const name = title || id;
        const href = url ? web(url) : "";
        if (seen.has(name + href)) return null;
        seen.add(name + href);
        return <li key={name + href}>{href ? <a href={href} target="_blank" rel="noopener noreferrer">{name}</a> : name}</li>;
      })}
    </ul>
  );
}

function Reply({ item, client, onward }) {
  const { reply, used } = item;
  const signIn = reply.type === "sign_in" && (client.onSignIn || (reply.url && web(reply.url, location.href)));
  const go = () => (client.onSignIn ? client.onSignIn(reply) : location.assign(web(reply.url, location.href)));
  return (
    <div class={`row theirs ${reply.type}`}>
      <span class="unseen">Assistant: </span>
      <div class="bubble">{reply.type === "confirm" ? reply.summary || reply.text : reply.text}</div>
      {reply.type === "answer" && <Citations list={reply.citations} />}
      {signIn && !used && <div class="choices"><button type="button" class="primary" onClick={go}>Sign in</button></div>}
      {reply.type === "confirm" && (
        <div class="choices">
          <button type="button" class="primary" disabled={used} onClick={() => { client.decide(item, true); onward(); }}>Yes, go ahead</button>
          <button type="button" disabled={used} onClick={() => { client.decide(item, false); onward(); }}>No, leave it</button>
        </div>
      )}
      {reply.type === "clarify" && Array.isArray(reply.options) && (
        <div class="choices">
          {reply.options.map((o) => <button type="button" key={o.value} disabled={used} onClick={() => { client.choose(item, o); onward(); }}>{o.label}</button>)}
        </div>
      )}
    </div>
  );
}

function Mine({ item, client, onward }) {
  return (
    <div class="row mine">
      <span class="unseen">You: </span>
      <div class="bubble">{item.text}</div>
      {item.note && <p class="note" role="alert">{item.note}{item.retry && <button type="button" onClick={() => { client.retry(item); onward(); }}>Try again</button>}</p>}
    </div>
  );
}

const icon = {
  chat: "M4 5h16v11H9l-5 4z",
  close: "M6 6l12 12M18 6L6 18",
  send: "M5 12h13M12 5l7 7-7 7",
};
const Icon = ({ name }) => <svg viewBox="0 0 24 24" aria-hidden="true"><path d={icon[name]} /></svg>;

export function Chat({ client, ui, settings }) {
  const panel = useRef();
  const input = useRef();
  const launcher = useRef();
  const log = useRef();
  const wasOpen = useRef(false);
  const { items, busy } = client;
  const { open, asked } = ui; // as drawn: an effect may run after the next click
  const tooLong = bytes(ui.draft) > LIMIT;

  useEffect(() => {
    if (open) input.current.focus();
    else if (wasOpen.current) launcher.current.focus();
    wasOpen.current = open;
  }, [open, asked]);
  useLayoutEffect(() => {
    if (log.current) log.current.scrollTop = log.current.scrollHeight;
  }, [items.length, busy, open]);

  // A button that was pressed is gone or disabled, and must not take the focus
  // with it. On a phone, focusing the field would open the keyboard.
  const onward = () => (settings.phone.matches ? log : input).current.focus();
  const submit = (event) => {
    event.preventDefault();
    if (tooLong || !ui.draft.trim()) return;
    const text = ui.draft;
    ui.set({ draft: "" });
    client.send(text);
  };
  const keys = (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      ui.set({ open: false });
    } else if (event.key === "Tab" && settings.phone.matches) {
      // The sheet covers the page, so Tab stays inside it.
      const all = [...panel.current.querySelectorAll("button:not(:disabled), textarea, a")];
      const edge = event.shiftKey ? all[0] : all.at(-1);
      if (panel.current.getRootNode().activeElement === edge) {
        event.preventDefault();
        (event.shiftKey ? all.at(-1) : all[0]).focus();
      }
    }
  };

  return (
    <div class={`root ${settings.position}`}>
      {open && (
        <section class="panel" role="dialog" aria-label={settings.title} aria-modal={settings.phone.matches ? "true" : undefined} ref={panel} onKeyDown={keys}>
          <header>
            <div>
              <h2>{settings.title}</h2>
              {client.name && <p>Signed in as {client.name}</p>}
            </div>
            <button type="button" class="bare" aria-label="Close chat" onClick={() => ui.set({ open: false })}><Icon name="close" /></button>
          </header>
          <div class="log" role="log" aria-live="polite" aria-label="Conversation" tabIndex={0} ref={log}>
            <div class="row theirs"><div class="bubble">{settings.greeting}</div></div>
            {items.map((item) => (item.mine ? <Mine key={item.key} item={item} client={client} onward={onward} /> : <Reply key={item.key} item={item} client={client} onward={onward} />))}
            {busy > 0 && <div class="row theirs"><div class="bubble dots" aria-label="Writing"><i /><i /><i /></div></div>}
          </div>
          <form onSubmit={submit}>
            <textarea
              ref={input}
              rows={1}
              aria-label="Your message"
              aria-invalid={tooLong ? "true" : undefined}
              placeholder="Write a message"
              value={ui.draft}
              onInput={(e) => ui.set({ draft: e.currentTarget.value })}
              onKeyDown={(e) => { if (e.key === "Enter" && !e.shiftKey && !e.isComposing) submit(e); }}
            />
            <button type="submit" class="primary" aria-label="Send" disabled={tooLong || !ui.draft.trim()}><Icon name="send" /></button>
            {tooLong && <p class="note" role="alert">This message is too long. Please shorten it.</p>}
          </form>
        </section>
      )}
      <button type="button" class="launcher" ref={launcher} aria-expanded={open ? "true" : "false"} aria-label={open ? "Close chat" : `Chat with ${settings.title}`} onClick={() => ui.set({ open: !open })}>
        <Icon name={open ? "close" : "chat"} />
      </button>
    </div>
  );
}
