/** Ink is found in photographs under uneven light, dark on light or light on dark, and not where there is none. */

import { expect, it } from "vitest";
import { blank, inkOfPhoto } from "../../src/page/ink.ts";

const SIDE = 96;

/** A ring, as a mask. */
const RING = Array.from({ length: SIDE * SIDE }, (_, at) => {
  const away = Math.hypot((at % SIDE) - SIDE / 2, Math.floor(at / SIDE) - SIDE / 2);
  return away > 22 && away < 30;
});

function photo(paper: (x: number, y: number) => number, ink: number): Uint8ClampedArray {
  const pixels = new Uint8ClampedArray(4 * SIDE * SIDE).fill(255);
  RING.forEach((inked, at) => {
    const [x, y] = [at % SIDE, Math.floor(at / SIDE)];
    const noise = ((at * 7919) % 13) - 6;
    pixels.fill(paper(x, y) + (inked ? ink : 0) + noise, 4 * at, 4 * at + 3);
  });
  return pixels;
}

function rightly(pixels: Uint8ClampedArray): number {
  const found = inkOfPhoto(pixels, SIDE, SIDE);
  if (found === null) return 0;
  return RING.filter((inked, at) => (found.gray[at] ?? 0) > 127 === inked).length / RING.length;
}

it.each([
  ["dark ink on even paper", () => 220, -150],
  ["dark ink in a shadow that falls across", (x: number) => 230 - 1.4 * x, -90],
  ["faint pencil", () => 200, -45],
  ["chalk on a board", (_x: number, y: number) => 40 + 0.4 * y, 140],
])("finds %s", (_, paper, ink) => {
  expect(rightly(photo(paper, ink))).toBeGreaterThan(0.97);
});

it("finds nothing on empty paper, whatever the light", () => {
  expect(
    inkOfPhoto(
      photo(() => 220, 0),
      SIDE,
      SIDE,
    ),
  ).toBeNull();
  expect(
    inkOfPhoto(
      photo((x) => 200 - x, 0),
      SIDE,
      SIDE,
    ),
  ).toBeNull();
});

it("takes a dot for ink, and dust for none", () => {
  const gray = new Uint8Array(112 * 112);
  expect(blank({ width: 112, height: 112, gray })).toBe(true);
  expect(blank({ width: 112, height: 112, gray: gray.slice().fill(255, 0, 4) })).toBe(true);
  expect(blank({ width: 112, height: 112, gray: gray.slice().fill(255, 0, 40) })).toBe(false);
});
