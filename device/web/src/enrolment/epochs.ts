/**
 * Sealing keys in epochs, as `security/identity/epochs.py`: a new key every so many days, and the old ones deleted once
 * nothing that was sealed to them can be on its way any more. Private halves are not extractable.
 */

import { fromHex, toHex } from "../bytes.ts";
import { InputError } from "../errors.ts";
import { KemKeyPair } from "../security/hpke.ts";

const DAY_MS = 86_400_000;
const DAYS = 14;
const OVERLAP_MS = 7 * DAY_MS; // the longest life of an envelope
const SKEW_MS = 5 * 60_000;

/** One epoch's key, as it is kept; times in ms since the epoch of Unix. */
export interface KemEpoch {
  readonly number: number;
  readonly begins: number;
  readonly ends: number;
  readonly pair: CryptoKeyPair;
  /** Hexadecimal. */
  readonly publicRaw: string;
}

/** Oldest first, never empty; `taken` is the one that the federation has taken last, 0 before it has any. */
export interface KemKeys {
  readonly epochs: readonly KemEpoch[];
  readonly taken: number;
}

export async function firstKeys(now: number): Promise<KemKeys> {
  return { epochs: [await newEpoch(1, now)], taken: 0 };
}

export function newest({ epochs }: KemKeys): KemEpoch {
  const last = epochs.at(-1);
  if (last === undefined) throw new InputError("there is no sealing key");
  return last;
}

/** Whether there should be another: two thirds of the newest are over, or it begins in the future. */
export function isDue(keys: KemKeys, now: number): boolean {
  const one = newest(keys);
  return now >= one.begins + Math.floor(((one.ends - one.begins) * 2) / 3) || !begun(one, now);
}

/** Whether there is nothing to do. */
export function isSettled(keys: KemKeys, now: number): boolean {
  return (
    newest(keys).number === keys.taken && !isDue(keys, now) && pruned(keys, now).epochs.length === keys.epochs.length
  );
}

export async function withNext(keys: KemKeys, now: number): Promise<KemKeys> {
  return { ...keys, epochs: [...keys.epochs, await newEpoch(newest(keys).number + 1, now)] };
}

/** The federation has taken the key of this epoch: those before it end now at the latest. */
export function accepted(keys: KemKeys, number: number, now: number): KemKeys {
  const taken = Math.max(keys.taken, number);
  return {
    epochs: keys.epochs.map((one) => (one.number < taken ? { ...one, ends: Math.min(one.ends, now) } : one)),
    taken,
  };
}

/** Without those before the one that was taken that ended seven days ago, by a clock that the federation agrees with. */
export function pruned(keys: KemKeys, now: number): KemKeys {
  return { ...keys, epochs: keys.epochs.filter((one) => one.number >= keys.taken || now < one.ends + OVERLAP_MS) };
}

/** The epoch that a renewal shows: of the attempt under way, else the one that was taken, else the newest. */
export function toShow(keys: KemKeys, attempt: number, now: number): KemEpoch | undefined {
  const of = (number: number): KemEpoch | undefined => keys.epochs.find((one) => one.number === number);
  return [of(attempt), of(keys.taken), newest(keys)].find(
    (one) => one !== undefined && now < one.ends && (one.number === keys.taken || begun(one, now)),
  );
}

/** Key pairs, the newest first: what is still on its way to an older one opens too. */
export function pairsOf({ epochs }: KemKeys): KemKeyPair[] {
  return epochs.map(({ pair, publicRaw }) => new KemKeyPair("x25519", pair, fromHex(publicRaw) ?? none())).reverse();
}

function begun(one: KemEpoch, now: number): boolean {
  return one.begins <= now + SKEW_MS;
}

async function newEpoch(number: number, now: number): Promise<KemEpoch> {
  const { pair, publicRaw } = await KemKeyPair.generate("x25519");
  return { number, begins: now, ends: now + DAYS * DAY_MS, pair, publicRaw: toHex(publicRaw) };
}

function none(): never {
  throw new InputError("a sealing key was damaged");
}
