/**
 * NIST's preparation of isolated characters, as `device/tasks/nist.py`: the ink's box stretched to 20×32 within 32×32,
 * strokes evened, and the shear taken out. Every number in it is exact, so both sides give the same bitmap.
 */

import { InputError } from "../errors.ts";

export const SIZE = 32;
const WIDTH = 20;
const FINER = 8;
const MUCH = [412, 560];
const LITTLE = [256, 108];
const EDGE = 2;

/** A picture as it is prepared: ink is bright. */
export interface Gray {
  readonly width: number;
  readonly height: number;
  readonly gray: Uint8Array;
}

/** 32×32 of 0 and 1, row by row. @throws InputError when there is no ink in the picture. */
export function normalisedBitmap(picture: Gray): Uint8Array {
  return upright(evenStrokes(stretched(cut(picture))));
}

interface Bitmap {
  readonly width: number;
  readonly height: number;
  readonly ink: Uint8Array;
}

/** The picture on a grid eight times as fine, cut at half ink. */
function cut({ width, height, gray }: Gray): Bitmap {
  const [rows, columns] = [finer(height), finer(width)];
  const across = new Float64Array(columns.length); // one row of the fine grid; all sums are exact
  const fine = new Float64Array(rows.length * columns.length);
  const line = new Float64Array(width);
  let most = 0;
  rows.forEach(({ first, second, share }, y) => {
    for (let x = 0; x < width; x++) {
      line[x] = (gray[first * width + x] ?? 0) * (1 - share) + (gray[second * width + x] ?? 0) * share;
    }
    columns.forEach((at, x) => {
      const value = (line[at.first] ?? 0) * (1 - at.share) + (line[at.second] ?? 0) * at.share;
      across[x] = value;
      most = Math.max(most, value);
    });
    fine.set(across, y * columns.length);
  });
  if (most === 0) throw new InputError("there is nothing on the picture", "draw or photograph one digit");
  const limit = Math.min(127.5, most / 2);
  return { width: columns.length, height: rows.length, ink: Uint8Array.from(fine, (value) => Number(value > limit)) };
}

/** Between which places each finer one lies, and its share of the second: sixteenths. */
function finer(length: number): { readonly first: number; readonly second: number; readonly share: number }[] {
  return Array.from({ length: length * FINER }, (_, i) => {
    const centre = Math.min(Math.max((i + 0.5) / FINER - 0.5, 0), length - 1);
    const first = Math.floor(centre);
    return { first, second: Math.min(first + 1, length - 1), share: centre - first };
  });
}

/** The box of the ink at full height and twenty wide, each pixel the one of the box that lies under its centre. */
function stretched({ width, height, ink }: Bitmap): Uint8Array {
  const inRow = (y: number): boolean => ink.subarray(y * width, (y + 1) * width).includes(1);
  const inColumn = (x: number): boolean => Array.from({ length: height }, (_, y) => ink[y * width + x]).includes(1);
  const rows = under(height, inRow, SIZE);
  const columns = under(width, inColumn, WIDTH);
  const left = (SIZE - WIDTH) / 2;
  const result = new Uint8Array(SIZE * SIZE);
  rows.forEach((row, y) => {
    columns.forEach((column, x) => {
      result[y * SIZE + left + x] = ink[row * width + column] ?? 0;
    });
  });
  return result;
}

/** So many places, evenly from the first to the last that is inked. */
function under(length: number, inked: (at: number) => boolean, count: number): number[] {
  const { first, last } = ends(length, inked);
  return Array.from({ length: count }, (_, i) => first + Math.floor(((i + 0.5) * (last - first + 1)) / count));
}

function ends(length: number, inked: (at: number) => boolean): { readonly first: number; readonly last: number } {
  const places = Array.from({ length }, (_, i) => i).filter(inked);
  return { first: places.at(0) ?? 0, last: places.at(-1) ?? length - 1 };
}

/** Too much ink is eroded and too little dilated, once or twice, with the four neighbours. */
function evenStrokes(bitmap: Uint8Array): Uint8Array {
  const ink = bitmap.reduce((sum, one) => sum + one, 0);
  let result = bitmap;
  for (const limit of MUCH) if (ink > limit) result = moved(result, (around, own) => own & Math.min(...around));
  for (const limit of LITTLE) if (ink < limit) result = moved(result, (around, own) => own | Math.max(...around));
  return result;
}

function moved(bitmap: Uint8Array, rule: (around: readonly number[], own: number) => number): Uint8Array {
  const at = (y: number, x: number): number =>
    y < 0 || x < 0 || y >= SIZE || x >= SIZE ? 0 : (bitmap[y * SIZE + x] ?? 0);
  return bitmap.map((own, i) => {
    const [y, x] = [Math.floor(i / SIZE), i % SIZE];
    return rule([at(y - 1, x), at(y + 1, x), at(y, x - 1), at(y, x + 1)], own);
  });
}

/** Rows shifted by the slope between the leftmost pixels near top and bottom; left alone where there are none. */
function upright(bitmap: Uint8Array): Uint8Array {
  const row = (y: number): Uint8Array => bitmap.subarray(y * SIZE, (y + 1) * SIZE);
  const { first, last } = ends(SIZE, (y) => row(y).includes(1));
  const [top, bottom] = [first + EDGE, last - EDGE];
  const [nearTop, nearBottom] = [top, bottom].map((y) => row(Math.min(Math.max(y, 0), SIZE - 1)).indexOf(1));
  const measured = bottom > top && (nearTop ?? -1) >= 0 && (nearBottom ?? -1) >= 0;
  const slope = measured ? ((nearTop ?? 0) - (nearBottom ?? 0)) / (bottom - top) : 0;
  return bitmap.map((_, i) => {
    const [y, x] = [Math.floor(i / SIZE), i % SIZE];
    const shift = (y - SIZE / 2) * slope;
    const source = x - Math.trunc(shift + (shift < 0 ? -0.5 : 0.5));
    return source >= 0 && source < SIZE ? (bitmap[y * SIZE + source] ?? 0) : 0;
  });
}
