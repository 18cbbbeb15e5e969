// What the widget reads of a token: when to ask for the next one, and whether
// the person behind it changed. It verifies nothing; only the gate does.

/** The claims of a JWT, or {} when it is not one. */
export function claims(token) {
  try {
    const part = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(part), (c) => c.charCodeAt(0));
    const parsed = JSON.parse(new TextDecoder().decode(bytes));
    return parsed && typeof parsed === "object" ? parsed : {};
  } catch {
    return {};
  }
}

const MARGIN = 30_000;
const LONGEST = 86_400_000;

/**
 * Milliseconds until the token should be replaced: half a minute before it
 * expires. A browser whose clock is ahead would see every token as expired, so
 * never sooner than a few seconds; null when the token names no expiry.
 */
export function refreshIn(token, now) {
  const { exp } = claims(token);
  if (typeof exp !== "number") return null;
  return Math.min(Math.max(exp * 1000 - MARGIN - now, 5_000), LONGEST);
}

/**
 * A short digest of who the token is about, to notice a change of person
 * without keeping who it was. It guards nothing.
 */
export function person(token) {
  const { iss, sub } = claims(token);
  let hash = 0x811c9dc5;
  for (const c of `${iss}\n${sub}`) hash = Math.imul(hash ^ c.codePointAt(0), 0x01000193);
  return (hash >>> 0).toString(36);
}
