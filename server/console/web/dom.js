// Elements, and lists that are changed in place: what has the focus keeps it, whatever comes in.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with properties and children; `class`, `data-…`, `aria-…` and the like are attributes, `on…` are handlers.
 *
 * @param {string} tag
 * @param {Record<string, unknown>} [given]
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElement}
 */
export function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) set(made, name, value);
  made.append(...children.filter((one) => one !== null && one !== undefined && one !== false));
  return made;
}

/** The same for drawings. @param {string} tag @param {Record<string, unknown>} [given] @param {...Node} children */
export function svg(tag, given = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(given)) set(made, name, value);
  made.append(...children);
  return made;
}

/** @param {Element} element @param {string} name @param {unknown} value */
export function set(element, name, value) {
  if (name.startsWith("on")) element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
  else if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value))
    element.setAttribute(name, value === true ? "" : String(value));
}

/** Changes a text only when it is another: a screen reader says it again otherwise. @param {Element} element @param {string} words */
export function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

/**
 * Makes a list's elements those of `items`, in their order: new ones are built, those that stay are updated in place.
 *
 * @template T
 * @param {Element} parent
 * @param {T[]} items
 * @param {{ key: (item: T) => string, build: (item: T) => HTMLElement, update: (element: HTMLElement, item: T) => void }} how
 */
export function keyed(parent, items, { key, build, update }) {
  const there = new Map([...parent.children].map((one) => [/** @type {HTMLElement} */ (one).dataset["key"], one]));
  /** @type {HTMLElement | null} */
  let before = null;
  for (const item of items) {
    const name = key(item);
    let element = /** @type {HTMLElement | undefined} */ (there.get(name));
    there.delete(name);
    if (element === undefined) {
      element = build(item);
      element.dataset["key"] = name;
    }
    update(element, item);
    /** @type {Element | null} */
    const place = before === null ? parent.firstElementChild : before.nextElementSibling;
    if (place !== element) parent.insertBefore(element, place);
    before = element;
  }
  for (const gone of there.values()) gone.remove();
}

/** Puts other children into an element where they look otherwise. @param {Element} parent @param {...(Node|string|null|false)} children */
export function fill(parent, ...children) {
  const fresh = el("div", {}, ...children);
  if (fresh.innerHTML !== parent.innerHTML) parent.replaceChildren(...fresh.childNodes);
}

/** @param {string} id @returns {HTMLElement} */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`there is no element ${id}`);
  return found;
}
