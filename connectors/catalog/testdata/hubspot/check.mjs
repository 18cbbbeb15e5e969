// Holds exchanges with HubSpot, as JSON on standard input, against HubSpot's own
// client, which is generated from its description of the API: the operation's
// method and path, the names in its query, and the models of body and reply.
// What does not fit is printed, a line each.
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const root = join(process.argv[2], "package", "lib", "codegen", "crm");
const require = createRequire(import.meta.url);
const apis = ["contacts", "tickets", "associations/v4"];

// operations are what the client's generated code says of each call.
const operations = apis.flatMap((api) => readdirSync(join(root, api, "apis")).filter((f) => f.endsWith("Api.js")).flatMap((file) => {
  const source = readFileSync(join(root, api, "apis", file), "utf8");
  const [factory, processor] = source.split(/class \w+ApiResponseProcessor/);
  const replies = Object.fromEntries([...(processor ?? "").matchAll(/\n    (\w+)WithHttpInfo\(response\)([\s\S]*?)\n    \}/g)].map(([, name, body]) =>
    [name, [...body.matchAll(/isCodeInRange\)\("(\d+)"[\s\S]*?"([^"]+)", ""\)/g)].map(([, status, model]) => ({ status: Number(status), model }))]));
  return factory.split(/\n    (?=\w+\([\w, ]*_options\) \{)/).slice(1).map((part) => {
    const name = part.match(/^\w+/)[0];
    const path = part.match(/localVarPath = '([^']+)'/)[1];
    return {
      api, name, path, method: part.match(/HttpMethod\.(\w+)/)[1],
      pattern: new RegExp("^" + path.replace(/\{\w+\}/g, "[^/]+") + "$"),
      query: [...part.matchAll(/(?:set|append)QueryParam\("(\w+)"/g)].map((m) => m[1]),
      body: part.match(/stringify\(ObjectSerializer_1\.ObjectSerializer\.serialize\(\w+, "([^"]+)"/)?.[1],
      replies: replies[name] ?? [],
    };
  });
}));

// fits says what of a value a model does not know.
function fits(api, type, value, at) {
  if (value === null || value === undefined) return [];
  const list = type.match(/^(?:Array|Set)<(.*)>$/);
  if (list) return Array.isArray(value) ? value.flatMap((v, i) => fits(api, list[1], v, `${at}[${i}]`)) : [`${at} is no list`];
  const map = type.match(/^\{ \[key: string\]: (.*); \}$/);
  if (map) return typeof value === "object" ? Object.entries(value).flatMap(([k, v]) => fits(api, map[1].replace(" | null", ""), v, `${at}.${k}`)) : [`${at} is no object`];
  if (["string", "number", "boolean"].includes(type)) return typeof value === type ? [] : [`${at} is a ${typeof value}, not a ${type}`];
  if (type === "Date") return Number.isNaN(Date.parse(value)) ? [`${at} is no time`] : [];
  let model;
  try {
    model = require(join(root, api, "models", type + ".js"))[type];
  } catch {
    return []; // an enumeration, or anything
  }
  if (!model?.attributeTypeMap) return [];
  if (typeof value !== "object" || Array.isArray(value)) return [`${at} is no ${type}`];
  return Object.entries(value).flatMap(([key, v]) => {
    const known = model.attributeTypeMap.find((a) => a.baseName === key);
    return known ? fits(api, known.type, v, `${at}.${key}`) : [`${at}.${key} is not of ${type}`];
  });
}

if (operations.length < 10) throw new Error(`only ${operations.length} operations were found`);
for (const e of JSON.parse(readFileSync(0, "utf8"))) {
  const found = operations.filter((o) => o.method === e.method && o.pattern.test(e.path));
  // A literal segment is meant before a variable one.
  const o = found.sort((a, b) => a.path.split("{").length - b.path.split("{").length)[0];
  if (!o) {
    console.log(`${e.method} ${e.path}: there is no such call`);
    continue;
  }
  const wrong = Object.keys(e.query ?? {}).filter((name) => !o.query.includes(name)).map((name) => `the query has no ${name}`);
  if (e.body) wrong.push(...(o.body ? fits(o.api, o.body, e.body, "body") : ["it takes no body"]));
  const reply = o.replies.find((r) => r.status === e.status);
  if (reply) wrong.push(...fits(o.api, reply.model, e.reply, "reply"));
  else if (e.status < 400) wrong.push(`it does not answer ${e.status}`);
  for (const w of wrong) console.log(`${e.method} ${o.path} (${o.name}): ${w}`);
}
