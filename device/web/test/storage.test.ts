/** What is kept on a full disk, in one step, and of which rounds the owner is told. */

import "fake-indexeddb/auto";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { CallFailedError } from "../src/agent/line.ts";
import { YieldedError } from "../src/agent/loop.ts";
import { Rounds } from "../src/agent/rounds.ts";
import * as errors from "../src/errors.ts";
import { Database, StorageError } from "../src/storage/database.ts";
import { Ledger, openLedger } from "../src/storage/ledger.ts";
import { cacheWitness } from "../src/storage/witness.ts";

const POLICY = {
  ...{ unit: "example", epsilon: 8, delta: 1e-5, simulated: false },
  ...{ minSeparation: 1, maxParticipations: 0, data: "digits/test" },
};

let database: Database;
let count = 0;

beforeEach(async () => {
  database = await Database.open(`storage ${count++}`);
});
afterEach(() => {
  vi.unstubAllGlobals();
});

describe("the witness", () => {
  /** Cache Storage of one cache, which takes nothing more once it is full. */
  function cached(): { full: boolean; puts: number } {
    const state = { full: false, puts: 0 };
    let text: string | undefined;
    const cache = {
      match: () => Promise.resolve(text === undefined ? undefined : new Response(text)),
      put: async (_: string, response: Response) => {
        if (state.full) throw new DOMException("quota", "QuotaExceededError");
        state.puts += 1;
        text = await response.text();
      },
    };
    vi.stubGlobal("caches", { open: () => Promise.resolve(cache) });
    return state;
  }

  it("writes only what is new, and says when there is no room", async () => {
    const state = cached();
    await cacheWitness.write("a");
    await cacheWitness.write("a");
    expect(state.puts).toBe(1);
    state.full = true;
    await cacheWitness.write("a");
    await expect(cacheWitness.write("b")).rejects.toThrow(StorageError);
    expect(await cacheWitness.read()).toBe("a");
  });

  it("on a full disk does not keep the owner out", async () => {
    const state = cached();
    await database.write([Ledger.beginning("phone-1", POLICY, 0)]);
    state.full = true;
    const { ledger, lost } = await openLedger(database, cacheWitness, true);
    expect(lost).toBe(false);
    expect(ledger?.subject).toBe("phone-1");
  });
});

it("what is cleared but for something is never without it", async () => {
  await database.write([
    { store: "state", key: "answer", value: "old" },
    { store: "state", key: "keys", value: "secret" },
  ]);
  const clearing = database.clear(["state"], [{ store: "state", key: "answer", value: "mark" }]);
  const meanwhile = database.entries("state"); // between two transactions nothing would be there
  await clearing;
  expect(await meanwhile).toEqual([["answer", "mark"]]);
});

it("a round that was followed is not said to be refused when it is asked for again", async () => {
  const rounds = await Rounds.open(database);
  const done = { run: "r", round: 1, examples: 5, refused: null, came: null };
  const refused = { code: "replayed", sentence: "" };
  await rounds.answered(done, 10);
  await rounds.answered({ ...done, examples: 0, refused }, 20);
  expect(rounds.seen).toMatchObject([{ round: 1, at: 10, examples: 5, refused: null }]);
  await rounds.answered({ ...done, round: 2, examples: 0, refused }, 30);
  await rounds.answered({ ...done, round: 2 }, 40);
  expect(rounds.seen[0]).toMatchObject({ round: 2, at: 40, refused: null });
});

it("errors keep their names whatever a minifier calls their classes", () => {
  const made: [string, () => Error][] = [
    ["SkerryError", () => new errors.SkerryError("")],
    ["InputError", () => new errors.InputError("")],
    ["RefusedError", () => new errors.RefusedError("", "")],
    ["EnvelopeRefusedError", () => new errors.EnvelopeRefusedError("", "")],
    ["BudgetExceededError", () => new errors.BudgetExceededError("", "")],
    ["LedgerCorruptError", () => new errors.LedgerCorruptError("", "")],
    ["CallFailedError", () => new CallFailedError("gone", "")],
    ["StorageError", () => new StorageError("")],
    ["YieldedError", () => new YieldedError("")],
  ];
  const types = { ...errors, CallFailedError, StorageError, YieldedError };
  for (const [name, make] of made) {
    const type = types[name as keyof typeof types];
    Object.defineProperty(type, "name", { value: "t" });
    expect(make().name).toBe(name);
  }
});
