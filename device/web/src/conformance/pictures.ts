/** How a picture is prepared against `pictures.json`. */

import { sha256 } from "@noble/hashes/sha2.js";
import { toHex } from "../bytes.ts";
import { networkInput, prepared } from "../preparation/digits.ts";
import { same, type Case } from "./check.ts";
import { bytesOf } from "./hex.ts";

interface Vector {
  readonly width: number;
  readonly height: number;
  readonly gray: string;
  readonly blocks: string;
  readonly input: string;
}

export function picturesCases(file: unknown): Case[] {
  const { prepared: vectors } = file as { readonly prepared: readonly Vector[] };
  return vectors.map(({ width, height, gray, blocks, input }, i) => ({
    name: `picture ${i}`,
    run: () => {
      const found = prepared({ width, height, gray: bytesOf(gray) });
      same(toHex(found), blocks, "blocks");
      same(toHex(sha256(littleEndian(networkInput(found)))), input, "input");
    },
  }));
}

function littleEndian(values: Float32Array): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, i) => {
    view.setFloat32(4 * i, value, true);
  });
  return new Uint8Array(view.buffer);
}
