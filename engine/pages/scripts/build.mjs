// Builds a page for each folder of src/ that has a page.html: one HTML, one CSS and one JS file
// into the folder that is named, or dist/. Same sources and same esbuild, same bytes. Must not test.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const out = process.argv[2] ?? join(root, "dist");
const BANNER = "made by scripts/pages from engine/pages/src; has uPlot, MIT, (c) Leon Sorokin";

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
for (const page of ["console", "wall"]) {
  await build({
    absWorkingDir: root,
    entryPoints: { [page]: `src/${page}/main.ts` },
    outdir: out,
    bundle: true,
    minify: true,
    charset: "utf8",
    legalComments: "none",
    banner: { js: `/* ${BANNER} */`, css: `/* ${BANNER} */` },
    format: "iife",
    target: "es2022",
  });
  const html = readFileSync(join(root, "src", page, "page.html"), "utf8");
  writeFileSync(join(out, `${page}.html`), html.replace(/^\s+/gm, ""));
}
