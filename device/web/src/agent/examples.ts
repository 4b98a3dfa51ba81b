/** The owner's examples, which never leave: pictures in the database, and their rows of the frozen base in memory. */

import { InputError } from "../errors.ts";
import type { Base } from "../delivery/base.ts";
import { CLASSES, INPUT_SHAPE, networkInput, prepared } from "../preparation/digits.ts";
import type { Database } from "../storage/database.ts";
import type { loadNetwork, Network } from "../training/features.ts";
import type { Rows } from "./participation.ts";
import type { Guess, Picture, StoredExample } from "./phone.ts";

interface Kept extends Omit<StoredExample, "id"> {
  /** 8×8, as a writer's digit is. */
  readonly blocks: Uint8Array;
}

const LAST_ID = "lastExample";

interface Loaded {
  readonly network: Network;
  readonly rows: Map<number, Float32Array>;
}

/** A network from the moment when somebody wants it. */
interface Wanted {
  readonly digest: string;
  readonly ready: Promise<Loaded>;
  users: number;
}

export class Examples {
  #loaded: Wanted | undefined;

  constructor(
    private readonly database: Database,
    private readonly load: typeof loadNetwork,
  ) {}

  /** @throws InputError when picture or label cannot be used. */
  async add(picture: Picture, label: number, now: number): Promise<void> {
    if (CLASSES[label] === undefined) throw new InputError("there is no such class");
    const kept: Kept = { picture, label, added: now, blocks: prepared(picture) };
    const newest = Number((await this.database.keys("examples")).at(-1) ?? 0);
    const given = Number((await this.database.get("state", LAST_ID)) ?? 0);
    const id = Math.max(newest, given) + 1; // never one that was another picture's
    await this.database.write([
      { store: "examples", key: id, value: kept, fresh: true },
      { store: "state", key: LAST_ID, value: id },
    ]);
  }

  async remove(id: number): Promise<void> {
    await this.database.write([{ store: "examples", key: id }]);
    (await this.#loaded?.ready.catch(() => undefined))?.rows.delete(id);
  }

  async count(): Promise<number> {
    return (await this.database.keys("examples")).length;
  }

  /** Oldest first. */
  async all(): Promise<StoredExample[]> {
    return (await this.#kept()).map(([id, { picture, label, added }]) => ({ id, picture, label, added }));
  }

  /** All examples as a head over this base reads them; `step` hears the share that is done, and may throw to stop. */
  async rows(base: Base, step: (share: number) => void): Promise<Rows> {
    return this.#over(base, (loaded) => this.#rows(base, loaded, step));
  }

  async #rows(base: Base, { network, rows }: Loaded, step: (share: number) => void): Promise<Rows> {
    const kept = await this.#kept();
    for (const [i, [id, { blocks }]] of kept.entries()) {
      await aTask();
      step(i / kept.length);
      if (!rows.has(id)) rows.set(id, base.whitening.row(await network.run(networkInput(blocks)), base.bias));
    }
    const here = new Set(await this.database.keys("examples")); // some may have been deleted meanwhile
    const x: Float32Array[] = [];
    const y: number[] = [];
    for (const [id, { label }] of kept) {
      const row = rows.get(id);
      if (row === undefined || !here.has(id)) rows.delete(id);
      else {
        x.push(row);
        y.push(label);
      }
    }
    return { x, y };
  }

  /** What a head makes of a picture. @throws InputError when the picture, or the network, gives nothing to go by. */
  async guess(base: Base, head: Float32Array, round: number, picture: Picture): Promise<Guess> {
    const input = networkInput(prepared(picture));
    const row = await this.#over(base, async ({ network }) => base.whitening.row(await network.run(input), base.bias));
    const probabilities = softmax(scores(head, row));
    if (!probabilities.every(Number.isFinite)) throw new InputError("the model's network fails on this picture");
    return { probabilities, best: largest(probabilities), round };
  }

  /** Forgets what is in memory. */
  forget(): void {
    this.#replace(undefined);
  }

  /** Works with the network of a base: loaded once, whoever asks first, and freed when another took its place and all are done. */
  async #over<T>(base: Base, work: (loaded: Loaded) => Promise<T>): Promise<T> {
    if (this.#loaded?.digest !== base.digest) this.#replace(this.#wanted(base));
    const one = this.#loaded ?? this.#wanted(base);
    one.users += 1;
    try {
      return await work(await one.ready);
    } finally {
      one.users -= 1;
      await this.#freeUnused(one);
    }
  }

  #wanted(base: Base): Wanted {
    const loading = this.load(base.network, INPUT_SHAPE, base.whitening.mean.length, base.step);
    const ready = loading.then((network) => ({ network, rows: new Map<number, Float32Array>() }));
    const one = { digest: base.digest, ready, users: 0 };
    ready.catch(() => {
      if (this.#loaded === one) this.#loaded = undefined; // the next one tries again
    });
    return one;
  }

  #replace(next: Wanted | undefined): void {
    const before = this.#loaded;
    this.#loaded = next;
    if (before !== undefined) void this.#freeUnused(before);
  }

  async #freeUnused(one: Wanted): Promise<void> {
    if (one === this.#loaded || one.users > 0) return;
    const loaded = await one.ready.catch(() => undefined); // what did not load holds nothing
    await loaded?.network.release();
  }

  async #kept(): Promise<(readonly [number, Kept])[]> {
    return (await this.database.entries("examples")).map(([id, kept]) => [Number(id), kept as Kept] as const);
  }
}

/** Share of examples that a head gets right; `null` where there are none. */
export function accuracy(head: Float32Array, { x, y }: Rows): number | null {
  if (x.length === 0) return null;
  return x.filter((row, i) => largest(scores(head, row)) === y[i]).length / x.length;
}

/**
 * A task of the Worker's own, before which it hears what the page says: a pause, another picture to guess. The runtime
 * gives it none: WebAssembly holds the thread, and what is awaited of it comes without one.
 */
function aTask(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}

function scores(head: Float32Array, row: Float32Array): number[] {
  return CLASSES.map((_, c) => row.reduce((sum, value, k) => sum + (head[c * row.length + k] ?? NaN) * value, 0));
}

function softmax(values: readonly number[]): number[] {
  const highest = Math.max(...values);
  const exps = values.map((value) => Math.exp(value - highest));
  const whole = exps.reduce((sum, value) => sum + value, 0);
  return exps.map((value) => value / whole);
}

function largest(values: readonly number[]): number {
  return values.indexOf(Math.max(...values));
}
