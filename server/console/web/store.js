// What is known: facts by key, as the gateway sent them.

/** @type {Map<string, any>} */
const facts = new Map();
/** @type {Set<{ kinds: Set<string>, show: () => void }>} */
const watching = new Set();
let due = false;
/** @type {Set<string>} */
const touched = new Set();

/** Shows something now, and whenever facts of these kinds change. @param {string[]} kinds @param {() => void} show */
export function watch(kinds, show) {
  watching.add({ kinds: new Set(kinds), show });
}

/** @param {{ put: Record<string, any>, drop: string[] }} event @param {boolean} all whether what was known is forgotten */
export function apply(event, all) {
  if (all) for (const key of [...facts.keys()]) if (!(key in event.put)) forget(key);
  for (const [key, value] of Object.entries(event.put)) {
    facts.set(key, value);
    touched.add(kind(key));
  }
  for (const key of event.drop) forget(key);
  refresh();
}

/** Shows what these kinds are shown by anew, as when another run is chosen. @param {...string} kinds */
export function touch(...kinds) {
  for (const one of kinds) touched.add(one);
  refresh();
}

/** Facts of a kind, below a prefix. @param {string} prefix @returns {any[]} */
export function all(prefix) {
  return [...facts].filter(([key]) => key.startsWith(`${prefix}/`)).map(([key, fact]) => ({ key, ...fact }));
}

/** @param {string} key */
export const one = (key) => facts.get(key);

/** @param {string} key */
function forget(key) {
  facts.delete(key);
  touched.add(kind(key));
}

/** @param {string} key */
const kind = (key) => key.split("/", 1)[0] ?? key;

/** Once for all that came before the screen is drawn next; at once where nobody sees it. */
function refresh() {
  if (due) return;
  due = true;
  const show = () => {
    due = false;
    const kinds = new Set(touched);
    touched.clear();
    for (const one of watching) if ([...one.kinds].some((name) => kinds.has(name))) one.show();
  };
  if (document.hidden) queueMicrotask(show);
  else requestAnimationFrame(show);
}
