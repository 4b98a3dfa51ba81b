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

interface Loaded {
  readonly base: Base;
  readonly network: Network;
  readonly rows: Map<number, Float32Array>;
}

export class Examples {
  #loaded: Loaded | undefined;

  constructor(
    private readonly database: Database,
    private readonly load: typeof loadNetwork,
  ) {}

  /** @throws InputError when picture or label cannot be used. */
  async add(picture: Picture, label: number, now: number): Promise<void> {
    if (CLASSES[label] === undefined) throw new InputError("there is no such class");
    const kept: Kept = { picture, label, added: now, blocks: prepared(picture) };
    const last = (await this.database.keys("examples")).at(-1) ?? 0;
    await this.database.write([{ store: "examples", key: Number(last) + 1, value: kept, fresh: true }]);
  }

  async remove(id: number): Promise<void> {
    await this.database.write([{ store: "examples", key: id }]);
    this.#loaded?.rows.delete(id);
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
    const { network, rows } = await this.#over(base);
    const kept = await this.#kept();
    const x: Float32Array[] = [];
    for (const [id, { blocks }] of kept) {
      step(x.length / kept.length);
      const row = rows.get(id) ?? base.whitening.row(await network.run(networkInput(blocks)), base.bias);
      rows.set(id, row);
      x.push(row);
    }
    return { x, y: kept.map(([, { label }]) => label) };
  }

  /** What a head makes of a picture. */
  async guess(base: Base, head: Float32Array, round: number, picture: Picture): Promise<Guess> {
    const { network } = await this.#over(base);
    const row = base.whitening.row(await network.run(networkInput(prepared(picture))), base.bias);
    const probabilities = softmax(scores(head, row));
    return { probabilities, best: largest(probabilities), round };
  }

  /** Forgets what is in memory. */
  forget(): void {
    this.#loaded = undefined;
  }

  async #over(base: Base): Promise<Loaded> {
    if (this.#loaded?.base.digest !== base.digest) {
      const network = await this.load(base.network, INPUT_SHAPE, base.whitening.mean.length);
      this.#loaded = { base, network, rows: new Map() };
    }
    return this.#loaded;
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
