/** The rounds that the phone was asked for, for its owner, and the newest head that it holds. */

import type { Base } from "../delivery/base.ts";
import type { Database } from "../storage/database.ts";
import { accuracy } from "./examples.ts";
import type { Done } from "./participation.ts";
import type { RoundSeen } from "./phone.ts";

const KEPT = 200;

/** The newest head that came, and the base that it is over. */
export interface NewestHead {
  readonly digest: string;
  readonly vector: Float32Array;
  readonly round: number;
  /** When the coordinator sent it, by its own clock, milliseconds since the epoch. */
  readonly issued: number;
}

export class Rounds {
  private constructor(
    private readonly database: Database,
    public seen: readonly RoundSeen[],
    public head: NewestHead | undefined,
  ) {}

  static async open(database: Database): Promise<Rounds> {
    const seen = ((await database.get("state", "rounds")) ?? []) as RoundSeen[];
    return new Rounds(database, seen, (await database.get("state", "head")) as NewestHead | undefined);
  }

  /** Keeps how a message was answered; the same round again takes its place, but no refusal that of a round followed. */
  async answered({ run, round, examples, refused, came }: Done, at: number): Promise<void> {
    const followed = this.seen.some((one) => one.run === run && one.round === round && one.refused === null);
    if (refused !== null && followed) return;
    const before = came === null ? null : accuracy(came.vector, came.rows);
    const others = this.seen
      .filter((one) => one.run !== run || one.round !== round)
      .map((one) => (one.run === run && one.round === round - 1 ? { ...one, after: before } : one));
    const one: RoundSeen = { run, round, at, examples, refused, before, after: null };
    const seen = [one, ...others].slice(0, KEPT);
    const head = came === null ? this.head : headOf(came, round - 1);
    await this.database.write([
      { store: "state", key: "rounds", value: seen },
      { store: "state", key: "head", value: head },
    ]);
    [this.seen, this.head] = [seen, head];
  }

  /** When the newest head was sent, by the coordinator's clock; 0 before any came. */
  get headMade(): number {
    return this.head?.issued ?? 0;
  }

  /** The head to guess by over a base: the newest that came, or the one that public data gave. */
  headOver(base: Base): { readonly vector: Float32Array; readonly round: number } {
    return this.head?.digest === base.digest ? this.head : { vector: base.initial, round: 0 };
  }
}

function headOf({ base, vector, issued }: NonNullable<Done["came"]>, round: number): NewestHead {
  return { digest: base.digest, vector, round, issued };
}
