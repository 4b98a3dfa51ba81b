/** Building what is shown: plain elements, made once and changed in place, so that focus and scroll stay where they are. */

export type Child = Node | string | null;
export type Attributes = Readonly<Record<string, string | number | boolean | null>>;

/** An element with attributes (`true` stands alone, `false` and `null` are left out) and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(made, name, value);
  for (const child of children) if (child !== null) made.append(child);
  return made;
}

/** A button that does something. */
export function button(attributes: Attributes, action: () => void, ...children: readonly Child[]): HTMLButtonElement {
  const made = h("button", { type: "button", ...attributes }, ...children);
  made.addEventListener("click", action);
  return made;
}

/** Change an attribute only if it is another: screen readers speak of what changes. */
export function setAttribute(element: Element, name: string, value: string | number | boolean | null): void {
  if (value === false || value === null) element.removeAttribute(name);
  else {
    const text = value === true ? "" : String(value);
    if (element.getAttribute(name) !== text) element.setAttribute(name, text);
  }
}

/** Change a text only if it is another. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Show or hide. */
export function show(element: HTMLElement, shown: boolean): void {
  element.hidden = !shown;
}

/** A bar that is so full, 0 to 1; styles in attributes are forbidden by the page's policy, properties are not. */
export function fill(element: HTMLElement, share: number): void {
  element.style.setProperty("--share", String(Math.min(1, Math.max(0, share))));
}

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  pen: "M4 20l1-4L16.5 4.5a2.1 2.1 0 0 1 3 3L8 19l-4 1zM14.5 6.5l3 3",
  camera: "M4 8h3l2-3h6l2 3h3v11H4zM12 10.2a3.3 3.3 0 1 0 0 6.6a3.3 3.3 0 1 0 0-6.6",
  grid: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  rounds: "M20 12a8 8 0 1 1-2.6-5.9M20 3v4h-4",
  shield: "M12 3l7 3v5c0 4.6-3 8-7 10c-4-2-7-5.4-7-10V6zM9 12l2.2 2.2L15.5 10",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
  pause: "M8 5v14M16 5v14",
  play: "M7 5l11 7l-11 7z",
  undo: "M9 6L4 11l5 5M4 11h9a6 6 0 0 1 6 6v2",
  close: "M6 6l12 12M18 6L6 18",
  picture: "M4 5h16v14H4zM4 16l5-5l4 4l3-3l4 4M15.5 8.6a.9.9 0 1 0 0 1.8a.9.9 0 1 0 0-1.8",
} as const;

/** A drawing beside a word; it says nothing to a screen reader. */
export function icon(name: keyof typeof ICONS): SVGSVGElement {
  const made = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  for (const [key, value] of [
    ["viewBox", "0 0 24 24"],
    ["aria-hidden", "true"],
    ["class", "icon"],
  ] as const) {
    made.setAttribute(key, value);
  }
  made.append(path);
  return made;
}
