// The package as others get it: packed, installed by hand, imported both ways, its types held
// against programs that are right and wrong, its size. Must not test behaviour.

import { strict as assert } from "node:assert";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync }
  from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const CORE_BYTES_MAX = 5 * 1024;
const EXPORTS = {
  "@gridcast/client": ["Client", "GridcastError"],
  "@gridcast/client/sse": ["SseClient"],
  "@gridcast/client/poll": ["PollClient"],
  "@gridcast/client/renew": ["renewing"],
  "@gridcast/client/worker": ["sharedClient"],
  "@gridcast/client/react": ["FeedProvider", "useFeed", "feedHook"],
};

let home;
let packed;

/** What npm says of the package: in a list, or by its name, as the version of npm will have it. */
const described = (told) => (told.filename ? told : described(Object.values(told)[0]));

const run = (program, ...args) => {
  try {
    return execFileSync(program, args, { cwd: home, encoding: "utf8", stdio: "pipe" });
  } catch ({ stdout, stderr }) {
    assert.fail(`${program} ${args.join(" ")}\n${stdout}\n${stderr}`);
  }
};
const tool = (name) => join(ROOT, "node_modules", ".bin", name);

before(() => {
  home = mkdtempSync(join(tmpdir(), "gridcast-package-"));
  const told = run("npm", "pack", ROOT, "--ignore-scripts", "--pack-destination", home, "--json");
  packed = described(JSON.parse(told));
  const modules = join(home, "node_modules");
  mkdirSync(join(modules, "@gridcast"), { recursive: true });
  run("tar", "-xzf", join(home, packed.filename), "-C", home);
  run("mv", join(home, "package"), join(modules, "@gridcast", "client"));
  for (const name of ["react", "@types", "csstype"]) {
    symlinkSync(join(ROOT, "node_modules", name), join(modules, name));
  }
});
after(() => rmSync(home, { recursive: true }));

for (const [name, exported] of Object.entries(EXPORTS)) {
  test(`import and require of ${name}`, () => {
    const wanted = JSON.stringify(exported);
    const check = `const lacks = ${wanted}.filter((name) => typeof all[name] !== "function");
      if (lacks.length) throw new Error("no " + lacks);`;
    run("node", "--input-type=module", "-e", `import * as all from "${name}"; ${check}`);
    run("node", "--input-type=commonjs", "-e", `const all = require("${name}"); ${check}`);
  });
}

test("it has what it needs and nothing else", () => {
  const files = packed.files.map(({ path }) => path);
  for (const path of ["README.md", "dist/gridcast.min.js", "dist/shared-worker.js"]) {
    assert.ok(files.includes(path), path);
  }
  assert.deepEqual(files.filter((path) => /^(src|test|scripts)\//.test(path)), []);
  const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  assert.equal(manifest.dependencies, undefined);
});

test("publint", () => {
  const told = run(tool("publint"), join(home, "node_modules", "@gridcast", "client"), "--strict");
  assert.match(told, /All good/);
});

test("are the types wrong", () => {
  run(tool("attw"), join(home, packed.filename), "--profile", "node16",
    "--exclude-entrypoints", "shared-worker.js", "gridcast.min.js");
});

test("the core is small, as it is and as a bundler makes it", async () => {
  const bundled = await build({
    stdin: { contents: `export * from "@gridcast/client"`, resolveDir: home },
    bundle: true, minify: true, write: false, format: "esm", target: "es2022",
  });
  const files = {
    "gridcast.min.js": readFileSync(join(ROOT, "dist", "gridcast.min.js")),
    "a bundle": bundled.outputFiles[0].contents,
  };
  for (const [name, bytes] of Object.entries(files)) {
    const size = gzipSync(bytes, { level: 9 }).length;
    assert.ok(size <= CORE_BYTES_MAX, `${name}: ${size} bytes`);
  }
});

test("the core has no import, and none of its modules needs React or a worker", () => {
  const core = readFileSync(join(ROOT, "dist", "gridcast.min.js"), "utf8");
  assert.doesNotMatch(core, /\bimport\b|\brequire\(/);
});

test("types: what is right compiles, what is wrong does not", () => {
  for (const name of readdirSync(join(ROOT, "test", "types"))) {
    writeFileSync(join(home, name), readFileSync(join(ROOT, "test", "types", name)));
    for (const [module, resolution] of [["nodenext", "nodenext"], ["esnext", "bundler"]]) {
      run(process.execPath, tool("tsc"), "--noEmit", "--strict", "--skipLibCheck", "false",
        "--exactOptionalPropertyTypes", "--module", module, "--moduleResolution", resolution,
        "--lib", "es2022,dom,dom.iterable", "--types", "", join(home, name));
    }
  }
});
