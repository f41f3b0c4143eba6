// Signs tokens for a server that is started with the secret. Must not check any.

import { createHmac, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export class Issuer {
  #secret = randomBytes(32).toString("hex");

  /** Settings of a server that takes its tokens. */
  settings(test) {
    const folder = mkdtempSync(join(tmpdir(), "gridcast-client-"));
    test.after(() => rmSync(folder, { recursive: true }));
    const file = join(folder, "secret");
    writeFileSync(file, this.#secret, { mode: 0o600 });
    return [`auth.hs256_secret_file=${file}`, "auth.leeway_s=0"];
  }

  token({ lasts_s = 600, subscribe = ["#"], publish = ["#"] } = {}) {
    const exp = Math.floor(Date.now() / 1000) + lasts_s;
    const claims = { sub: "test", exp, gridcast: { subscribe, publish } };
    const body = [{ alg: "HS256", typ: "JWT" }, claims].map(encode).join(".");
    const signature = createHmac("sha256", this.#secret).update(body).digest("base64url");
    return `${body}.${signature}`;
  }
}

function encode(value) {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
