// Validates an AsyncAPI document and prints what is wrong with it. Must not know any message.
// Usage: node asyncapi.mjs PARSER FILE, where PARSER is the folder of @asyncapi/parser. The exit
// code is 1 where something is wrong, warnings included.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [home, file] = process.argv.slice(2);
const { Parser } = createRequire(`${home}/package.json`)("@asyncapi/parser");

const { document, diagnostics } = await new Parser().parse(readFileSync(file, "utf8"));
for (const { code, message, path, range } of diagnostics) {
  console.error(`${file}:${range.start.line + 1}: ${code} at ${path.join("/")}: ${message}`);
}
const isValid = document !== undefined && diagnostics.length === 0;
if (isValid) {
  const [channels, operations] = [document.channels().all(), document.operations().all()];
  console.log(`${channels.length} channels, ${operations.length} operations`);
}
process.exit(isValid ? 0 : 1);
