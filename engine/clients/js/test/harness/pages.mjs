// A browser, and an origin that serves the built package and empty pages to it. Owns both, and what
// a page keeps of what it was told (`told`). Must not know what is tested.

import { createServer } from "node:http";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import puppeteer from "puppeteer-core";
import { freePort } from "./server.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** A kind of browser: where it is, and how it is started. */
class Kind {
  constructor(name, paths, options) {
    const path = process.env[name.toUpperCase()] ?? paths.find(existsSync) ?? paths[0];
    Object.assign(this, { name, path, options });
  }

  /** Why it cannot be tried. */
  get lack() {
    const hint = `name one in ${this.name.toUpperCase()}`;
    return existsSync(this.path) ? undefined : `there is no ${this.path}: ${hint}`;
  }

  launch(more = {}) {
    return puppeteer.launch({ executablePath: this.path, ...this.options, ...more });
  }
}

export const BROWSERS = [
  new Kind("Chromium", ["/usr/bin/chromium", "/usr/bin/google-chrome"], {
    args: ["--no-sandbox"],
    // A browser throttles what nobody sees; one for tests does not, unless these are taken away.
    ignoreDefaultArgs: [
      "--disable-back-forward-cache", "--disable-background-timer-throttling",
      "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding",
    ],
  }),
  new Kind("Firefox", ["/usr/bin/firefox-esr", "/usr/bin/firefox"], { browser: "firefox" }),
];

export class Browser {
  /** Pages with something in them, by path. */
  pages = new Map();

  /** Whoever asks for /held is answered when this is. */
  held = Promise.resolve();

  static async start(kind, more) {
    const browser = new Browser();
    browser.server = createServer(({ url }, response) => answer(url, response, browser));
    browser.server.listen(freePort(), "127.0.0.1");
    await once(browser.server, "listening");
    browser.origin = `http://127.0.0.1:${browser.server.address().port}`;
    browser.driven = await kind.launch(more);
    return browser;
  }

  /** A tab with an empty page, where `begin` has run with `given`. */
  async tab(test, begin, ...given) {
    const tab = await this.driven.newPage();
    test.after(() => tab.close().catch(() => {}));
    tab.setDefaultTimeout(40_000);
    await tab.goto(this.origin);
    await tab.evaluate(() => {
      window.told = [];
      window.keep = (source, ...events) =>
        events.forEach((event) => source.on(event, (told) => window.told.push({ event, ...told })));
    });
    await tab.evaluate(begin, ...given);
    return tab;
  }

  /** Waits until a page asks for this path. */
  asked(path) {
    return new Promise((resolve) => {
      this.server.on("request", ({ url }) => url === path && resolve());
    });
  }

  async stop() {
    await this.driven.close();
    this.server.close();
  }
}

/** Waits until the page was told of this event, with these fields; forgets what was before. */
export async function told(tab, event, fields = {}) {
  const found = await tab.waitForFunction((event, fields) => {
    const fits = (one) => one.event === event
      && Object.entries(fields).every(([key, value]) => one[key] === value);
    const at = window.told.findIndex(fits);
    return at >= 0 && { entry: window.told.splice(0, at + 1)[at] };
  }, { timeout: 40_000, polling: 100 }, event, fields); // A hidden page has no frames.
  return (await found.jsonValue()).entry;
}

async function answer(url, response, browser) {
  const { pathname } = new URL(url, "http://localhost");
  const is_script = /\.m?js$/.test(pathname);
  response.setHeader("content-type", is_script ? "text/javascript" : "text/html");
  if (pathname === "/held") await browser.held;
  if (pathname === "/react.js") return response.end(await reactPage());
  if (!is_script) return response.end(browser.pages.get(pathname) ?? EMPTY);
  const file = await readFile(ROOT + pathname).catch(() => null);
  if (file === null) response.statusCode = 404;
  response.end(file ?? "");
}

const EMPTY = "<!doctype html><title>gridcast</title><div id=root></div>";

/** React, and a page with it, as one script. */
async function reactPage() {
  const contents = `
    export { createElement, StrictMode } from "react";
    export { createRoot } from "react-dom/client";
    export { FeedProvider, useFeed } from "./dist/esm/react.js";`;
  const bundled = await build({
    stdin: { contents, resolveDir: ROOT }, bundle: true, write: false, format: "esm",
    define: { "process.env.NODE_ENV": `"development"` },
  });
  return bundled.outputFiles[0].text;
}
