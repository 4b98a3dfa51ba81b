/** A pause stops a phone before anything more of an answer is sent, and a reply does not say how long it took. */

import "fake-indexeddb/auto";
import { beforeEach, expect, it } from "vitest";
import type { FleetCalls, Session } from "../src/agent/fleet.ts";
import { Journal } from "../src/agent/journal.ts";
import { Loop, type Hooks } from "../src/agent/loop.ts";
import type { Reason } from "../src/agent/phone.ts";
import { utf8 } from "../src/bytes.ts";
import { pack, type Parcel } from "../src/fleet/letter.ts";
import { Database } from "../src/storage/database.ts";

const PAUSED: Reason = { code: "paused", sentence: "paused by you" };
const LETTER = pack({
  metadata: { run: 1n, from: 2n, to: 3n, replyTo: "", group: "", kind: "train", createdAt: 1, ttl: 1000 },
  content: new Map([["a", utf8("b")]]),
});

let database: Database;
let count = 0;
beforeEach(async () => {
  database = await Database.open(`loop ${count++}`);
});

/** A SuperLink that has one message, and notes what it is told. */
class Link {
  readonly line = { now: 2000 };
  readonly heartbeat = 30;
  readonly told: string[] = [];
  #given = false;

  constructor(private readonly heard: (what: string) => void) {}

  activate(): Promise<bigint> {
    return Promise.resolve(7n);
  }
  alive(): Promise<boolean> {
    return Promise.resolve(true);
  }
  deactivate(): Promise<void> {
    return Promise.resolve();
  }
  pull(): Promise<Parcel | undefined> {
    const letter = this.#given ? undefined : LETTER;
    this.#given = true;
    return Promise.resolve(letter);
  }
  announce(_: bigint, reply: Parcel, seconds: number): Promise<Session> {
    this.#hear(`announced ${seconds}`);
    return Promise.resolve({ session: "s", missing: [...reply.objects.keys()].slice(0, 2) });
  }
  upload(): Promise<void> {
    this.#hear("uploaded");
    return Promise.resolve();
  }
  #hear(what: string): void {
    this.told.push(what);
    this.heard(what);
  }
}

/** Runs a loop whose owner pauses when `at` happens, for some turns; returns what the SuperLink was told. */
async function paused(at: string): Promise<string[]> {
  let lapse: Reason | null = null;
  let [turns, now] = [0, 0];
  const pauseAt = (what: string): void => {
    if (what === at) lapse = PAUSED;
  };
  const link = new Link(pauseAt);
  const said: string[] = [];
  const hooks: Hooks = {
    keepUp: () => Promise.resolve(),
    lapse: () => lapse,
    tell: (activity) => said.push(activity),
    answer: () => {
      now += 12_345;
      pauseAt("answered");
      return Promise.resolve(new Map([["envelope", utf8("sealed")]]));
    },
  };
  const bell = { sleep: () => Promise.resolve() };
  const fleet = link as unknown as FleetCalls; // what the loop calls of it
  const loop = new Loop(database, new Journal(database), fleet, hooks, bell, () => 0.5, () => now); // prettier-ignore
  await loop.run(() => turns++ < 6);
  if (at !== "") expect(said.at(-1)).toBe("paused");
  return link.told;
}

it("a reply goes out in one turn, and tells no seconds", async () => {
  expect(await paused("")).toEqual(["announced 0", "uploaded", "uploaded"]);
  expect(await new Journal(database).reply()).toBeUndefined();
});

it("who pauses before the answer is sent keeps it, and nothing of it goes out", async () => {
  expect(await paused("answered")).toEqual([]);
  expect(await new Journal(database).reply()).toBeDefined();
});

it("who pauses while it is sent stops before the next part", async () => {
  expect(await paused("uploaded")).toEqual(["announced 0", "uploaded"]);
  expect(await new Journal(database).reply()).toBeDefined();
});
