/** Features and their whitening against `whitening.json`. */

import { onGrid } from "../training/pooled.ts";
import { Whitening } from "../training/whitening.ts";
import { same, type Case } from "./check.ts";
import { double, floats, hexOfFloats } from "./numbers.ts";

interface Vector {
  readonly mean: string;
  readonly values: readonly number[];
  readonly scale: string;
  readonly bound: string;
  readonly components: number;
  readonly pooled: readonly string[];
  readonly constant: number;
  readonly rows: readonly string[];
}

interface OnGrid {
  readonly step: string;
  readonly given: string;
  readonly features: string;
}

export function whiteningCases(file: unknown): Case[] {
  const { rows, grid } = file as { readonly rows: readonly Vector[]; readonly grid: readonly OnGrid[] };
  return [
    ...rows.map((vector, i) => ({
      name: `rows ${i}`,
      run: () => {
        check(vector);
      },
    })),
    ...grid.map(({ step, given, features }, i) => ({
      name: `grid ${i}`,
      run: () => {
        same(hexOfFloats(onGrid(floats(given), double(step))), features, "features");
      },
    })),
  ];
}

function check(v: Vector): void {
  const whitening = new Whitening(floats(v.mean), Int8Array.from(v.values), floats(v.scale), double(v.bound));
  same(String(whitening.components), String(v.components), "components");
  const rows = v.pooled.map((pooled) => hexOfFloats(whitening.row(floats(pooled), v.constant)));
  same(rows.join(), v.rows.join(), "rows");
}
