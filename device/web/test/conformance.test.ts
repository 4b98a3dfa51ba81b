/** Our code gives what Python gave, and notices when one value of what Python gave is another. */

import { describe, expect, it } from "vitest";
import { failures } from "../src/conformance/check.ts";
import { CONFORMANCE } from "../src/conformance/index.ts";
import { brokenCase, leaves, withLeafChanged } from "./mutation.ts";
import { vectorBytes, vectors } from "./vectors.ts";

/** Inputs that do not weigh where they stand, and what is not computed here. Digests of the files hold them. */
const IDLE: Readonly<Record<string, readonly RegExp[]>> = {
  // lists that begin with a norm of 0; rows that are left out; noise so wide that one more in 30 000 moves none of seven samples
  grid: [/^grids\.\d+\.norms$/, /^sums\.\d+\.rows\./, /^sums\.3\.grid\.1$/],
  // classes of examples that no step draws; where a head without examples starts
  head: [/^rounds\.\d+\.y\./, /^rounds\.6\.start$/],
  // suites that WebCrypto lacks; what the library keeps to itself
  hpke: [/A\.2\.1\./, /A\.5\.1\./, /X-Wing\./, /\.shared_secret$/],
  // a request to leave is sealed to nobody, and its bytes hold the key that signs
  leaving: [/^who\.(kem|signing)_key$/, /^who\.kem_private$/],
  // said for people; trees of one leaf more, in which the same proof leads the same way
  merkle: [/\.name$/, /^inclusion\.65\.size$/, /^consistency\.(44|64)\.size$/],
  messages: [/^challenge\.coordinator\.(name|kem_key)$/], // a challenge is signed by the other key
  // so little noise that every sample is 0; one person more, who is not drawn
  noise: [/^samples\.0\.(scale|key)$/, /^drawn\.\d+\.count$/],
  pictures: [/^prepared\.\d+\.gray$/], // a shade more or less of one pixel, which tips no cut at half ink
  // features beyond the bound, and a bound that none reaches; a step so small that all are multiples of it
  whitening: [/^rows\.\d+\.(pooled\.\d+|bound)$/, /^grid\.2\.step$/],
  // points and signatures that are refused stay so when they are changed once more; no browser has ML-KEM
  wycheproof: [/^p256_/, /^ed25519_/, /^mlkem/],
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

  it("does not hold when one value is another, whichever it is", async () => {
    const file = vectors(name);
    const paths = leaves(file, IDLE[name]);
    expect(paths.length).toBeGreaterThan(0);
    const unnoticed: string[] = [];
    let last = 0;
    for (const path of paths) {
      const changed = withLeafChanged(file, path);
      try {
        const broken = await brokenCase(cases(changed), last);
        if (broken === undefined) unnoticed.push(path.join("."));
        else last = broken;
      } catch {
        // a file that cannot be taken apart any more is noticed
      }
    }
    expect(unnoticed).toEqual([]);
  });
});
