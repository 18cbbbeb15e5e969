import assert from "node:assert/strict";
import { test } from "node:test";
import { claims, person, refreshIn } from "../src/token.js";
import { token } from "./support.js";

test("what is no token has no claims", () => {
  for (const bad of ["", "x", "a.b.c", "..", "a.bnVsbA.c", "a.!!!.c"]) assert.deepEqual(claims(bad), {}, bad);
});

test("claims are read as UTF-8", () => {
  assert.equal(claims(token({ name: "Zoë Ødegård" })).name, "Zoë Ødegård");
});

test("a token is replaced half a minute before it expires", () => {
  const now = 1_800_000_000_000;
  const at = (seconds) => refreshIn(token({ exp: now / 1000 + seconds }), now);
  assert.equal(at(300), 270_000);
  assert.equal(at(31), 5_000);
  assert.equal(at(-3600), 5_000); // a clock that is ahead must not spin
  assert.equal(at(86_400 * 60), 86_400_000); // nor a far date overflow a timer
  assert.equal(refreshIn(token({}), now), null);
});

test("people differ by subject and issuer, not by token", () => {
  assert.equal(person(token({ iss: "a", sub: "1", jti: "x" })), person(token({ iss: "a", sub: "1", jti: "y" })));
  assert.notEqual(person(token({ iss: "a", sub: "1" })), person(token({ iss: "a", sub: "2" })));
  assert.notEqual(person(token({ iss: "a", sub: "1" })), person(token({ iss: "b", sub: "1" })));
});
