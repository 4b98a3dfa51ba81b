/** Clipping and rounding against `grid.json`. */

import { InputError } from "../errors.ts";
import { Grid } from "../training/grid.ts";
import { same, thrown, type Case } from "./check.ts";
import { stream } from "./noise.ts";
import { double, doubles, hexOfDoubles } from "./numbers.ts";

type Given = readonly [number, number, number];

interface Vectors {
  readonly grids: readonly {
    clip: string;
    noise_multiplier: string;
    size: number;
    bound: number;
    cell: string;
    radius: string;
    scale: string;
    norms: string;
    factors: string;
  }[];
  readonly refused: readonly { given: Given; why: string }[];
  readonly sums: readonly {
    grid: Given;
    rows: readonly string[];
    total: readonly number[];
    left_out: number;
    key: string;
    released: string;
  }[];
}

export function gridCases(file: unknown): Case[] {
  const { grids, refused, sums } = file as Vectors;
  return [
    ...grids.map((v, i) => ({
      name: `grid ${i}`,
      run: () => {
        checkGrid(v);
      },
    })),
    ...refused.map(({ given, why }) => ({
      name: why,
      run: async () => {
        await thrown(InputError, () => new Grid(...given));
      },
    })),
    ...sums.map((v, i) => ({
      name: `sum ${i}`,
      run: () => {
        checkSum(v);
      },
    })),
  ];
}

function checkGrid(v: Vectors["grids"][number]): void {
  const grid = new Grid(double(v.clip), double(v.noise_multiplier), v.size);
  same(String(grid.bound), String(v.bound), "bound");
  same(hexOfDoubles([grid.cell]), v.cell, "cell");
  same(hexOfDoubles([grid.radius]), v.radius, "radius");
  const [numerator = 0n, denominator = 1n] = v.scale.split("/").map(BigInt);
  const { scale } = grid;
  same(String(scale.numerator * denominator), String(numerator * scale.denominator), "scale");
  same(hexOfDoubles(doubles(v.norms).map((norm) => grid.factor(norm))), v.factors, "factors");
}

function checkSum(v: Vectors["sums"][number]): void {
  const grid = new Grid(...v.grid);
  const total = new Float64Array(grid.size);
  const left = v.rows.filter((row) => !grid.add(doubles(row), total)).length;
  same(total.map((cells) => cells + 0).join(), v.total.join(), "total");
  same(String(left), String(v.left_out), "left out");
  same(hexOfDoubles(grid.release(total, stream(v.key))), v.released, "released");
}
