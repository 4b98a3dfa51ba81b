/** Files of vectors with one value changed: whoever reads them must notice. */

type Path = readonly (string | number)[];
type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** Said for people, or an input to a case that is refused: changed, it is mostly refused as before. */
const WITHOUT_WEIGHT = new Set(["source", "why", "null", "given"]);
const MOST = 60;

/**
 * Where the values are that decide whether a file holds; of long files a part, spread evenly.
 *
 * @param inputs keys of inputs of which some may change without changing a result.
 */
export function leaves(file: unknown, inputs: readonly string[] = []): Path[] {
  const idle = new Set([...WITHOUT_WEIGHT, ...inputs]);
  const all = [...walk(file as Json, [], idle)];
  const step = Math.ceil(all.length / MOST);
  return all.filter((_, i) => i % step === 0);
}

function* walk(value: Json, path: Path, idle: ReadonlySet<string>): Generator<Path> {
  if (value === null || typeof value !== "object") yield path;
  else {
    for (const [key, item] of Object.entries(value)) {
      if (!idle.has(key)) yield* walk(item, [...path, Array.isArray(value) ? Number(key) : key], idle);
    }
  }
}

/** A copy whose value at `path` is another of its type. */
export function withLeafChanged(file: unknown, path: Path): unknown {
  const copy = structuredClone(file);
  let at = copy as Record<string | number, unknown>;
  for (const step of path.slice(0, -1)) at = at[step] as Record<string | number, unknown>;
  const last = path.at(-1) ?? "";
  at[last] = changed(at[last]);
  return copy;
}

function changed(value: unknown): unknown {
  if (typeof value === "boolean") return !value;
  if (typeof value === "number") return value + 1;
  if (typeof value !== "string") return "another";
  const first = value.charAt(0);
  return `${/[0-9a-e]/.test(first) ? (parseInt(first, 16) + 1).toString(16) : "1"}${value.slice(1)}`;
}
