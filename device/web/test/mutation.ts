/** Files of vectors with one value changed: whoever reads them must notice. */

import { failures, type Case } from "../src/conformance/check.ts";

type Path = readonly (string | number)[];
type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** Said for people, or an input to a case that is refused: changed, it is mostly refused as before. */
const WITHOUT_WEIGHT = new Set(["source", "why", "null", "given"]);

/**
 * Where the values are that decide whether a file holds.
 *
 * @param idle where values are that may change without changing a result; places are keys and numbers joined by dots.
 */
export function leaves(file: unknown, idle: readonly RegExp[] = []): Path[] {
  return [...walk(file as Json, [])].filter((path) => !idle.some((place) => place.test(path.join("."))));
}

function* walk(value: Json, path: Path): Generator<Path> {
  if (value === null || typeof value !== "object") yield path;
  else {
    const isRefused = "refused" in value && value["refused"] === true; // as others say it: only this weighs
    for (const [key, item] of Object.entries(value)) {
      if (WITHOUT_WEIGHT.has(key) || (isRefused && key !== "refused")) continue;
      yield* walk(item, [...path, Array.isArray(value) ? Number(key) : key]);
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

/**
 * The number of a case that does not hold, or `undefined` when all do.
 *
 * @param from the case to begin with: values that are neighbours mostly belong to the same.
 */
export async function brokenCase(cases: readonly Case[], from: number): Promise<number | undefined> {
  for (let i = 0; i < cases.length; i++) {
    const at = (from + i) % cases.length;
    if ((await failures(cases.slice(at, at + 1))).length > 0) return at;
  }
  return undefined;
}

function changed(value: unknown): unknown {
  if (typeof value === "boolean") return !value;
  if (typeof value === "number") return value + 1;
  if (typeof value !== "string") return "another";
  const first = value.charAt(0);
  return `${/[0-9a-e]/.test(first) ? (parseInt(first, 16) + 1).toString(16) : "1"}${value.slice(1)}`;
}
