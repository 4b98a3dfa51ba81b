/** Our code gives what Python gave, and notices when one byte of what Python gave is another. */

import { describe, expect, it } from "vitest";
import { failures } from "../src/conformance/check.ts";
import { CONFORMANCE } from "../src/conformance/index.ts";
import { leaves, withLeafChanged } from "./mutation.ts";
import { vectorBytes, vectors } from "./vectors.ts";

/** Files of others: many of their cases are refused, and stay so when they are changed once more. */
const PUBLISHED = new Set(["hpke", "merkle"]);

/** Inputs that do not always weigh: a row that is left out anyway, an example that no step draws, a pull in the first step. Digests hold them. */
const INPUTS: Readonly<Record<string, readonly string[]>> = {
  grid: ["norms", "rows", "grid"],
  head: ["x", "y", "start", "proximal"],
  noise: ["count"],
};

describe.each(Object.entries(CONFORMANCE))("%s", (name, cases) => {
  it("holds", async () => {
    expect(await failures(cases(vectors(name)))).toEqual([]);
  });

  it("is refused as a file when one byte is another", () => {
    const bytes = vectorBytes(name);
    for (let at = 0; at < bytes.length; at += Math.ceil(bytes.length / 50)) {
      const changed = Uint8Array.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(() => vectors(name, changed), `byte ${at}`).toThrow("agreed");
    }
  });

  it.skipIf(PUBLISHED.has(name))("does not hold when one value is another", async () => {
    const file = vectors(name);
    const paths = leaves(file, INPUTS[name]);
    expect(paths.length).toBeGreaterThan(0);
    const unnoticed: string[] = [];
    for (const path of paths) {
      const changed = withLeafChanged(file, path);
      let noticed: boolean;
      try {
        noticed = (await failures(cases(changed), 1)).length > 0;
      } catch {
        noticed = true;
      }
      if (!noticed) unnoticed.push(path.join("."));
    }
    expect(unnoticed).toEqual([]);
  });
});
