/** What a browser makes by itself: keys that never leave it, entries that Python would write, noise that nobody knows. */

import { expect, it } from "vitest";
import { Float, mapOf, type CborMap } from "../src/canonical/index.ts";
import { writeJson } from "../src/json/write.ts";
import { InputError } from "../src/errors.ts";
import { debitBody, replay } from "../src/privacy/account.ts";
import { entry, GENESIS, line, walk } from "../src/privacy/chain.ts";
import { policyBody, readPolicy } from "../src/privacy/policy.ts";
import { gaussianEvent } from "../src/privacy/rdp.ts";
import { secretStream } from "../src/noise/stream.ts";
import { KemKeyPair, KemPublicKey } from "../src/security/hpke.ts";
import { vectors } from "./vectors.ts";

const { lines } = vectors("ledger") as { lines: string[] };
const pythons = walk(lines);

function pythonsBody(seq: number): CborMap {
  const found = pythons[seq];
  if (found === undefined) throw new Error(`the vectors have no entry ${seq}`);
  return found.body;
}

it("writes the bodies that Python wrote", () => {
  const { subject, policy } = readPolicy(pythonsBody(0));
  expect(writeJson(policyBody(subject, policy))).toBe(writeJson(pythonsBody(0)));
  const debit = debitBody("digits-1", 1, gaussianEvent(12.345, 1, 20), "0a".repeat(32), "");
  expect(writeJson(debit)).toBe(writeJson(pythonsBody(1)));
  const promised = debitBody("digits-2", 1, gaussianEvent(3, 0.25, 4), "0c".repeat(32), "5 rounds, 1 apart");
  expect(writeJson(promised)).toBe(writeJson(pythonsBody(6)));
});

it("writes a ledger that it reads, with salts that differ", () => {
  const body = debitBody("r", 1, null, "", "");
  const first = entry(0, GENESIS, "policy", 5, pythonsBody(0));
  const second = entry(1, first.hash, "debit", 6, body);
  expect(replay(walk([line(first), line(second)])).has("r", 1)).toBe(true);
  expect(entry(1, first.hash, "debit", 6, body).hash).not.toBe(second.hash);
});

it("refuses what no ledger holds", () => {
  expect(() => entry(0, GENESIS, "Debit", 5, new Map())).toThrow(InputError);
  expect(() => entry(0, GENESIS, "debit", 5, mapOf({ x: new Float(NaN) }))).toThrow(InputError);
  expect(() => entry(0, GENESIS, "debit", 5, mapOf({ x: "y".repeat(1 << 20) }))).toThrow(InputError);
});

it.each(["x25519", "p256"] as const)("makes %s keys whose private half is not to be had", async (suite) => {
  const made = await KemKeyPair.generate(suite);
  expect(made.pair.privateKey.extractable).toBe(false);
  await expect(crypto.subtle.exportKey("pkcs8", made.pair.privateKey)).rejects.toThrow();
  const text = new TextEncoder().encode("payload");
  const sealed = await (await KemPublicKey.of(suite, made.publicRaw)).seal(text, text);
  expect(await made.open(sealed, text)).toEqual(text);
  expect(await (await KemKeyPair.generate(suite)).open(sealed, text)).toBeUndefined();
});

it("has no keys of a suite that browsers lack", async () => {
  await expect(KemKeyPair.generate("xwing")).rejects.toThrow(InputError);
});

it("draws noise that is not repeated and says that nobody knows it", () => {
  const [one, another] = [secretStream(), secretStream()];
  expect(one.isSeeded).toBe(false);
  expect(one.uint64(4)).not.toEqual(another.uint64(4));
});
