// Where the server is: beside the page. Behind a proxy that puts it below a path, that is below it.

export const BASE = new URL(".", location.href);

export function at(path: string): string {
  return new URL(path, BASE).href;
}
