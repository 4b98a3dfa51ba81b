/** A drawing that was deleted has no part in anything later, and a network is loaded once, tried again, and freed. */

import "fake-indexeddb/auto";
import { beforeEach, expect, it } from "vitest";
import { CallFailedError } from "../src/agent/line.ts";
import { Examples } from "../src/agent/examples.ts";
import { YieldedError } from "../src/agent/loop.ts";
import type { Picture } from "../src/agent/phone.ts";
import { InputError } from "../src/errors.ts";
import type { Base } from "../src/delivery/base.ts";
import { Database } from "../src/storage/database.ts";
import type { Network } from "../src/training/features.ts";
import { Whitening } from "../src/training/whitening.ts";

let database: Database;
let count = 0;
let freed: string[] = [];

beforeEach(async () => {
  database = await Database.open(`examples ${count++}`);
  freed = [];
});

function base(digest = "a"): Base {
  return {
    digest,
    bytes: 0,
    network: new Uint8Array(),
    whitening: new Whitening(new Float32Array(2), Int8Array.of(1, 0, 0, 1), Float32Array.of(1, 1), 1e9),
    bias: 1,
    step: 0,
    initial: new Float32Array(30),
    width: 3,
  };
}

/** A bar of ink: the network below tells two of them apart. */
function bar(upright: boolean): Picture {
  const gray = new Uint8Array(32 * 32);
  for (let i = 2; i < 30; i++) for (let j = 14; j < 18; j++) gray[upright ? 32 * i + j : 32 * j + i] = 255;
  return { width: 32, height: 32, gray };
}

/** Features are the sum of the input and the place of its centre; whoever waits at the gate stays there. */
function network(gate?: Promise<void>, name = "a"): Network {
  return {
    run: async (input) => {
      await gate;
      if (freed.includes(name)) return Float32Array.of(NaN, NaN);
      const sum = input.reduce((total, value) => total + value, 0);
      return Float32Array.of(sum, input.reduce((total, value, i) => total + value * (i % 64), 0) / 64);
    },
    release: () => {
      freed.push(name);
      return Promise.resolve();
    },
  };
}

const free = (): void => undefined;

it("an id is never given to another picture", async () => {
  const examples = new Examples(database, () => Promise.resolve(network()));
  for (const label of [1, 2]) await examples.add(bar(true), label, 0);
  await examples.remove(2);
  await examples.add(bar(false), 3, 0);
  expect((await examples.all()).map(({ id }) => id)).toEqual([1, 3]);
});

it("a drawing that is deleted while the network works on it is not trained on, nor is another in its name", async () => {
  let open = free;
  const gate = new Promise<void>((resolve) => (open = resolve));
  const examples = new Examples(database, () => Promise.resolve(network(gate)));
  await examples.add(bar(true), 1, 0);
  const under = examples.rows(base(), free);
  await new Promise((resolve) => setTimeout(resolve, 20));
  await database.write([{ store: "examples", key: 1 }]); // as `remove` does, which waits for nothing
  open();
  expect(await under).toEqual({ x: [], y: [] });
  await examples.add(bar(false), 7, 0);
  const alone = new Examples(database, () => Promise.resolve(network()));
  expect(await examples.rows(base(), free)).toEqual(await alone.rows(base(), free));
  expect((await examples.rows(base(), free)).y).toEqual([7]);
});

it("a network is loaded once for all who ask, and again after it could not be had", async () => {
  let asked = 0;
  const examples = new Examples(database, () => {
    asked += 1;
    return asked === 1 ? Promise.reject(new CallFailedError("unreachable", "no network")) : Promise.resolve(network());
  });
  const vector = new Float32Array(30);
  await expect(examples.guess(base(), vector, 0, bar(true))).rejects.toThrow(CallFailedError);
  const both = await Promise.all([0, 1].map(() => examples.guess(base(), vector, 0, bar(true))));
  expect(both[0]).toEqual(both[1]);
  expect(asked).toBe(2);
});

it("what the page says is heard between two examples, though the network leaves no time for it", async () => {
  const examples = new Examples(database, () => Promise.resolve(network()));
  for (const label of [1, 2, 3, 4]) await examples.add(bar(true), label, 0);
  let [steps, paused] = [0, false];
  const under = examples.rows(base(), () => {
    if (paused) throw new YieldedError("paused");
    steps += 1;
    setTimeout(() => (paused = true)); // as a message that comes while the first one is worked on
  });
  await expect(under).rejects.toThrow(YieldedError);
  expect(steps).toBe(1);
});

it("a network that fails on a picture is no guess", async () => {
  const failing: Network = { ...network(), run: () => Promise.resolve(Float32Array.of(NaN, NaN)) };
  const examples = new Examples(database, () => Promise.resolve(failing));
  await expect(examples.guess(base(), new Float32Array(30), 0, bar(true))).rejects.toThrow(InputError);
});

it("the network of another base is freed, but not under work that it does", async () => {
  let open = free;
  const gate = new Promise<void>((resolve) => (open = resolve));
  const networks = [network(gate, "a"), network(undefined, "b")];
  const examples = new Examples(database, () => Promise.resolve(networks.shift() ?? network()));
  await examples.add(bar(true), 1, 0);
  const under = examples.rows(base("a"), free);
  await examples.guess(base("b"), new Float32Array(30), 0, bar(true));
  expect(freed).toEqual([]);
  open();
  expect((await under).x[0]?.every(Number.isFinite)).toBe(true);
  expect(freed).toEqual(["a"]);
});
