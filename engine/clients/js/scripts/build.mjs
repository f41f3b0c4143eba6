// Builds dist/: every module as ESM and CJS with its types, the core as one file for pages without
// a bundler, and the shared worker as one file. Must not test or publish.

import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const dist = join(root, "dist");
const compiler = createRequire(import.meta.url).resolve("typescript/package.json");

function compile(...options) {
  const tsc = join(dirname(compiler), "bin", "tsc");
  execFileSync(process.execPath, [tsc, "-p", root, ...options], { stdio: "inherit" });
}

function bundle(entry, file, format) {
  return build({
    entryPoints: [join(root, "src", entry)],
    outfile: join(dist, file),
    bundle: true,
    minify: true,
    format,
    target: "es2022",
  });
}

rmSync(dist, { recursive: true, force: true });
compile();
compile("--module", "commonjs", "--outDir", join(dist, "cjs"));
writeFileSync(join(dist, "cjs", "package.json"), `{ "type": "commonjs" }\n`);
await bundle("index.ts", "gridcast.min.js", "esm");
await bundle("shared-worker.ts", "shared-worker.js", "iife");
