// Runs code of the application, whose errors are its own: they are thrown where nothing of ours is
// in the way, so that the page's error handling sees them and the next listener is still told.

export function isolated<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch (thrown) {
    throwLater(thrown);
    return undefined;
  }
}

export function throwLater(thrown: unknown): void {
  queueMicrotask(() => {
    throw thrown;
  });
}
