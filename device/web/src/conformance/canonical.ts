/** Canonical CBOR against `canonical.json`. */

import { toHex } from "../bytes.ts";
import { decode, encode } from "../canonical/index.ts";
import { InputError } from "../errors.ts";
import { same, thrown, type Case } from "./check.ts";
import { bytesOf } from "./hex.ts";
import { untagged, type Tagged } from "./tagged.ts";

interface Vectors {
  readonly as_deep_as_may_be: string;
  readonly encoded: readonly { readonly value: Tagged; readonly bytes: string }[];
  readonly refused: readonly { readonly why: string; readonly given: string }[];
}

export function canonicalCases(file: unknown): Case[] {
  const { encoded, refused, as_deep_as_may_be: deep } = file as Vectors;
  return [
    ...encoded.map(({ value, bytes }, i) => ({
      name: `encoded ${i}`,
      run: () => {
        same(toHex(encode(untagged(value))), bytes, "encoding");
        same(toHex(encode(decode(bytesOf(bytes)))), bytes, "what was read, written again,");
      },
    })),
    {
      name: "as deep as may be",
      run: () => {
        same(toHex(encode(decode(bytesOf(deep)))), deep);
      },
    },
    ...refused.map(({ why, given }) => ({
      name: why,
      run: async () => {
        await thrown(InputError, () => decode(bytesOf(given)));
      },
    })),
  ];
}
