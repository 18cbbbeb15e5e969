// Builds dist/widget.js. With --check it only says whether the committed file
// is what the sources make.

import { readFile, writeFile, mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { dirname, join } from "node:path";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "dist", "widget.js");

const { outputFiles } = await build({
  absWorkingDir: here,
  entryPoints: ["src/main.jsx"],
  bundle: true,
  minify: true,
  write: false,
  format: "iife",
  target: ["chrome108", "firefox115", "safari16.4"],
  jsx: "automatic",
  jsxImportSource: "preact",
  charset: "utf8",
  legalComments: "none",
  banner: { js: "/*! Vouchsafe chat widget, Apache-2.0. Includes Preact, MIT, Copyright (c) 2015-present Jason Miller. */" },
});
const made = outputFiles[0].contents;

if (process.argv.includes("--check")) {
  const kept = await readFile(out).catch(() => new Uint8Array());
  if (Buffer.compare(Buffer.from(made), Buffer.from(kept)) !== 0) {
    console.error("dist/widget.js is not what the sources make: run npm run build");
    process.exit(1);
  }
} else {
  await mkdir(dirname(out), { recursive: true });
  await writeFile(out, made);
}
