// The one class of errors that this package makes. Must not decide what happens after one.

/** `code` is for programs: that of the server, or one of the client's own (README). */
export class GridcastError extends Error {
  override name = "GridcastError";

  constructor(readonly code: string, message: string) {
    super(message);
  }
}

export function followedAlready(topic: string): GridcastError {
  return new GridcastError("already_subscribed", `"${topic}" is followed already`);
}
