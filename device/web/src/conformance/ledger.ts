/** Ledgers against `ledger.json`. */

import { toHex } from "../bytes.ts";
import { RefusedError } from "../errors.ts";
import { replay } from "../privacy/account.ts";
import { line, walk, type Entry } from "../privacy/chain.ts";
import { MerkleTree } from "../privacy/merkle.ts";
import { epsilon, gaussianEvent } from "../privacy/rdp.ts";
import { receiptDigest } from "../privacy/receipt.ts";
import { same, type Case } from "./check.ts";
import { bytesOf } from "./hex.ts";

type Event = readonly [number, number, number];

interface Vectors {
  readonly subject: string;
  readonly lines: readonly string[];
  readonly entries: readonly { seq: number; kind: string; hash: string; commitment: string; root: string }[];
  readonly receipts: readonly { seq: number; digest: string }[];
  readonly epsilon: string;
  readonly broken: readonly { why: string; given: readonly string[]; reason: string }[];
  readonly prices: readonly { events: readonly Event[]; epsilons: Readonly<Record<string, string>> }[];
  readonly free: readonly { given: readonly Event[] }[];
  readonly asked: readonly {
    why: string;
    given: { run: string; round: number; event: Event | null; now: number };
    reason: string;
  }[];
}

export function ledgerCases(file: unknown): Case[] {
  const vectors = file as Vectors;
  return [
    {
      name: "entries",
      run: () => {
        checkEntries(vectors);
      },
    },
    {
      name: "receipts",
      run: () => {
        checkReceipts(vectors);
      },
    },
    ...vectors.broken.map(({ why, given, reason }) => ({
      name: why,
      run: () => {
        same(
          reasonOf(() => replay(walk(given))),
          reason,
          "reason",
        );
      },
    })),
    ...vectors.prices.flatMap(({ events, epsilons }, i) =>
      Object.entries(epsilons).map(([delta, wanted]) => ({
        name: `price ${i} at δ = ${delta}`,
        run: () => {
          same(
            shown(
              epsilon(
                events.map((event) => gaussianEvent(...event)),
                Number(delta),
              ),
            ),
            wanted,
            "ε",
          );
        },
      })),
    ),
    ...vectors.free.map(({ given }, i) => ({
      name: `free ${i}`,
      run: () => {
        same(
          String(
            epsilon(
              given.map((event) => gaussianEvent(...event)),
              0.01,
            ),
          ),
          "0",
          "ε",
        );
      },
    })),
    ...vectors.asked.map(({ why, given, reason }) => ({
      name: why,
      run: () => {
        const account = replay(walk(vectors.lines));
        const asked = (): void => {
          account.checkDebit(given.run, given.round, given.event && gaussianEvent(...given.event));
          account.checkClock(given.now);
        };
        same(reasonOf(asked), reason, "reason");
      },
    })),
  ];
}

/** To nine digits, as Python's `.8e` writes it. */
function shown(value: number): string {
  return value.toExponential(8).replace(/e([-+])(\d)$/, "e$10$2");
}

function checkEntries(vectors: Vectors): void {
  const found = walk(vectors.lines);
  same(String(found.length), String(vectors.entries.length), "number of entries");
  const tree = new MerkleTree();
  vectors.entries.forEach((wanted, i) => {
    const got = found[i];
    if (got === undefined) throw new Error("an entry is missing");
    tree.append(bytesOf(got.hash));
    same(line(got), vectors.lines[i] ?? "", "line");
    same(String(got.seq), String(wanted.seq), "seq");
    same(got.kind, wanted.kind, "kind");
    same(got.hash, wanted.hash, "hash");
    same(got.commitment, wanted.commitment, "commitment");
    same(toHex(tree.root()), wanted.root, "root");
  });
  const account = replay(found);
  same(account.subject, vectors.subject, "subject");
  same(shown(account.epsilon()), vectors.epsilon, "ε");
}

function checkReceipts({ lines, receipts, subject }: Vectors): void {
  const entries = walk(lines);
  const tree = new MerkleTree(entries.map((entry) => bytesOf(entry.hash)));
  const debits = entries.filter((entry) => entry.kind === "debit");
  same(receipts.map(({ seq }) => seq).join(), debits.map(({ seq }) => seq).join(), "debits");
  debits.forEach((debit, i) => {
    same(toHex(digestOf(debit, subject, tree)), receipts[i]?.digest ?? "", "receipt");
  });
}

function digestOf({ body, hash, seq }: Entry, device: string, tree: MerkleTree): Uint8Array {
  const [run, round] = [body.get("run"), body.get("round")];
  if (typeof run !== "string" || typeof round !== "number") throw new Error("a debit names no round");
  const size = seq + 1;
  return receiptDigest({ run, round, device, leaf: hash, size, root: toHex(tree.root(size)) });
}

function reasonOf(run: () => unknown): string {
  try {
    run();
    return "";
  } catch (error) {
    if (error instanceof RefusedError) return error.reason;
    throw error;
  }
}
