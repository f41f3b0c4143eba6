// The core of the package: what `@gridcast/client` exports. Owns nothing.

export { Client } from "./client.js";
export { GridcastError } from "./errors.js";
export type { Clock } from "./clock.js";
export type * from "./types.js";
