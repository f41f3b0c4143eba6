// Makes and fills elements. Text is always set as text: what comes from topics is never markup.

type Attributes = Record<string, string | number | boolean | undefined>;
export type Child = Node | string;

/** An element by a short form of its selector: "div.card.wide". */
export function el<K extends keyof HTMLElementTagNameMap>(
  selector: K | `${K}.${string}`, attributes: Attributes = {}, ...children: Child[]
): HTMLElementTagNameMap[K] {
  const [tag, ...classes] = selector.split(".");
  const element = document.createElement(tag as K);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : `${value}`);
    }
  }
  element.append(...children);
  return element;
}

/** Of the page itself: what is missing there is a fault of the page. */
export function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page lacks #${id}`);
  return found as E;
}

/** Sets text only where it changed, so that neither layout nor a screen reader is disturbed. */
export function say(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** The same for an attribute. */
export function mark(element: Element, name: string, value: string): void {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** The same for the property `hidden`. */
export function show(element: HTMLElement, is_shown: boolean): void {
  if (element.hidden === is_shown) element.hidden = !is_shown;
}

/** Fills a list of rows of name and value, and reuses the rows that are there. */
export function fillRows(list: HTMLElement, rows: [name: string, value: string][]): void {
  while (list.children.length > rows.length) list.lastElementChild!.remove();
  while (list.children.length < rows.length) {
    list.append(el("div", {}, el("dt"), el("dd")));
  }
  rows.forEach(([name, value], at) => {
    const row = list.children[at];
    say(row.children[0], name);
    say(row.children[1], value);
  });
}
