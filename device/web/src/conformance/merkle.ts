/** Proofs against `merkle.json`, which others published: true ones hold, every changed one is refused. */

import { RefusedError } from "../errors.ts";
import { verifyConsistency, verifyInclusion } from "../privacy/merkle.ts";
import { same, type Case } from "./check.ts";
import { bytesOf } from "./hex.ts";

interface Published {
  readonly name: string;
  readonly size: number;
  readonly root: string | null;
  readonly proof: readonly string[];
  readonly refused: boolean;
}
interface Vectors {
  readonly inclusion: readonly (Published & { readonly index: number; readonly leaf: string | null })[];
  readonly consistency: readonly (Published & { readonly old: number; readonly old_root: string | null })[];
}

export function merkleCases(file: unknown): Case[] {
  const { inclusion, consistency } = file as Vectors;
  const hash = (hex: string | null): ReturnType<typeof bytesOf> => bytesOf(hex ?? "");
  return [
    ...inclusion.map((c) => ({
      name: `inclusion ${c.name}`,
      run: () => {
        holds(c, () => {
          verifyInclusion(hash(c.leaf), c.index, c.size, c.proof.map(bytesOf), hash(c.root));
        });
      },
    })),
    ...consistency.map((c) => ({
      name: `consistency ${c.name}`,
      run: () => {
        holds(c, () => {
          verifyConsistency(c.old, hash(c.old_root), c.size, hash(c.root), c.proof.map(bytesOf));
        });
      },
    })),
  ];
}

function holds(published: Published, verify: () => void): void {
  let refused = false;
  try {
    verify();
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    refused = true;
  }
  same(String(refused), String(published.refused), "refused");
}
