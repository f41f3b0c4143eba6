// The token and the options in the page's address. The token stands behind the `#`, which browsers
// keep to themselves: it is in no log of a server or proxy.

const fragment = new URLSearchParams(location.hash.slice(1));

export function tokenHere(): string | undefined {
  return fragment.get("token") || undefined;
}

/** What the address asks for, before and behind the `#`. */
export function options(): URLSearchParams {
  const all = new URLSearchParams(location.search);
  for (const [name, value] of fragment) if (name !== "token") all.append(name, value);
  return all;
}
