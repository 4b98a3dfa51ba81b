/**
 * The phone's own ledger on stable storage: lines of the same form as Python's, each bound to all before it, one writer.
 * A debit is written, with whatever belongs to it, before what it pays for is computed.
 */

import { fromHex, toHex } from "../bytes.ts";
import { InputError, LedgerCorruptError } from "../errors.ts";
import { debitBody, replay, type Account } from "../privacy/account.ts";
import { entry, GENESIS, line, walk, type Entry } from "../privacy/chain.ts";
import { MerkleTree } from "../privacy/merkle.ts";
import { policyBody, type Policy } from "../privacy/policy.ts";
import type { GaussianEvent } from "../privacy/rdp.ts";
import { receiptDigest, type Receipt } from "../privacy/receipt.ts";
import { StorageError, type Change, type Database } from "./database.ts";
import type { Witness } from "./witness.ts";

/** What is to be spent, and for which instruction (`nonce`: its name, hexadecimal). */
export interface Asked {
  readonly run: string;
  readonly round: number;
  readonly event: GaussianEvent | null;
  readonly nonce: string;
  readonly promise: string;
}

/** An open ledger; everything it says rests on lines that are on stable storage. */
export class Ledger {
  private constructor(
    private readonly database: Database,
    private readonly account: Account,
    private readonly entries: Entry[],
    private readonly tree: MerkleTree,
  ) {}

  /**
   * The ledger that is kept; `undefined` where there is none.
   *
   * @throws LedgerCorruptError when its chain does not hold.
   */
  static async open(database: Database): Promise<Ledger | undefined> {
    const lines = await database.entries("ledger");
    if (lines.length === 0) return undefined;
    if (lines.some(([key, value], i) => key !== i || typeof value !== "string")) {
      throw new LedgerCorruptError("chain_broken", "lines of the ledger are missing");
    }
    const entries = walk(lines.map(([, value]) => value as string));
    return new Ledger(database, replay(entries), entries, new MerkleTree(entries.map(hashOf)));
  }

  /** The line of a new ledger's policy, to be written with what the promise is given for. */
  static beginning(subject: string, policy: Policy, now: number): Change {
    const first = entry(0, GENESIS, "policy", now, policyBody(subject, policy));
    return { store: "ledger", key: 0, value: line(first) };
  }

  get policy(): Policy {
    return this.account.policy;
  }

  get subject(): string {
    return this.account.subject;
  }

  /** Hash of the newest entry: whoever keeps it can tell later that nothing was cut off. */
  get head(): string {
    return this.account.last.hash;
  }

  /** Whether nothing was debited yet: its promise may still be another. */
  get untouched(): boolean {
    return this.entries.length === 1;
  }

  /** ε spent at the policy's δ. */
  epsilon(): number {
    return this.account.epsilon();
  }

  has(run: string, round: number): boolean {
    return this.account.has(run, round);
  }

  /** Whether an entry of this hash is in the chain. */
  contains(hash: string): boolean {
    return this.entries.some((one) => one.hash === hash);
  }

  /** Debits of a run, the newest first. */
  debited(run: string): Entry[] {
    return this.entries.filter(({ kind, body }) => kind === "debit" && body.get("run") === run).reverse();
  }

  /** The newest debit, of whatever run. */
  lastDebit(): Entry | undefined {
    return this.entries.findLast(({ kind }) => kind === "debit");
  }

  /**
   * Spends one round's privacy, and writes what belongs to it in the same step; on return it is spent.
   *
   * @throws RefusedError as `Account.checkDebit` and `Account.checkClock`; then nothing is written.
   */
  async debit({ run, round, event, nonce, promise }: Asked, now: number, others: readonly Change[]): Promise<Entry> {
    this.account.checkDebit(run, round, event);
    this.account.checkClock(now);
    const seq = this.entries.length;
    const made = entry(seq, this.head, "debit", now, debitBody(run, round, event, nonce, promise));
    await this.database.write([{ store: "ledger", key: seq, value: line(made), fresh: true }, ...others]);
    this.account.take(made);
    this.entries.push(made);
    this.tree.append(hashOf(made));
    return made;
  }

  /** What the ledger states with the debit of that entry. */
  receipt(debit: Entry, device: string): Receipt {
    const [run, round, size] = [debit.body.get("run"), debit.body.get("round"), debit.seq + 1];
    if (typeof run !== "string" || typeof round !== "number") throw new InputError("a debit names no round");
    return { run, round, device, leaf: debit.hash, size, root: toHex(this.tree.root(size)) };
  }

  /** Whether it still holds the debit of which it once gave this receipt (its digest, hexadecimal). */
  remembers(run: string, device: string, digest: string): boolean {
    return this.debited(run).some((debit) => toHex(receiptDigest(this.receipt(debit, device))) === digest);
  }
}

/**
 * The ledger that is kept, or that it was lost: damaged, gone although there is a place in a federation, or without the
 * entry that the witness saw.
 */
export async function openLedger(
  database: Database,
  witness: Witness,
  enrolled: boolean,
): Promise<{ ledger: Ledger | undefined; lost: boolean }> {
  const seen = await witness.read();
  let ledger: Ledger | undefined;
  try {
    ledger = await Ledger.open(database);
  } catch (error) {
    if (!(error instanceof LedgerCorruptError)) throw error;
    return { ledger: undefined, lost: true };
  }
  const lost = seen === undefined ? enrolled && ledger === undefined : ledger?.contains(seen) !== true;
  if (!lost && ledger !== undefined) await witnessed(witness, ledger.head);
  return { ledger, lost };
}

/** Says the newest entry to the witness; where there is no room, the one that it saw before goes on holding. */
async function witnessed(witness: Witness, head: string): Promise<void> {
  try {
    await witness.write(head);
  } catch (error) {
    if (!(error instanceof StorageError)) throw error; // a full disk must not lock the owner out, who would erase
  }
}

function hashOf({ hash }: Entry): Uint8Array<ArrayBuffer> {
  const bytes = fromHex(hash);
  if (bytes === undefined) throw new InputError("a hash is hexadecimal");
  return bytes;
}
