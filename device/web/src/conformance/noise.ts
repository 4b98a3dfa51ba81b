/** Integer noise against `noise.json`. */

import { sha256 } from "@noble/hashes/sha2.js";
import { toHex } from "../bytes.ts";
import { drawExamples } from "../noise/drawing.ts";
import { gaussianNoise, gaussianTable } from "../noise/gaussian.ts";
import { ChaChaStream, seededStream } from "../noise/stream.ts";
import { same, type Case } from "./check.ts";
import { bytesOf } from "./hex.ts";
import { fraction, Words } from "./numbers.ts";

interface Vectors {
  readonly streams: readonly { key: string; counts: readonly number[]; words: readonly string[] }[];
  readonly seeded: readonly { seed: string; labels: readonly (string | number)[]; words: readonly string[] }[];
  readonly tables: readonly { variance: string; entries: number; sha256: string }[];
  readonly samples: readonly { scale: string; key: string; samples: readonly number[] }[];
  readonly edges: { scale: string; words: readonly string[]; count: number; samples: readonly number[] };
  readonly drawn_by_words: { rate: string; words: readonly string[]; chosen: readonly number[] };
  readonly all_drawn: readonly { count: number; given: { rate: string; key: string } }[];
  readonly drawn: readonly { rate: string; key: string; count: number; chosen: readonly number[] }[];
}

export function noiseCases(file: unknown): Case[] {
  const vectors = file as Vectors;
  return [
    ...vectors.streams.map((v, i) => ({
      name: `stream ${i}`,
      run: () => {
        checkStream(v);
      },
    })),
    ...vectors.seeded.map(({ seed, labels, words }, i) => ({
      name: `seeded ${i}`,
      run: () => {
        same(hex(seededStream(BigInt(seed), ...labels).uint64(words.length)), words.join(), "words");
      },
    })),
    ...vectors.tables.map((v, i) => ({
      name: `table ${i}`,
      run: () => {
        checkTable(v);
      },
    })),
    ...vectors.samples.map(({ scale, key, samples }, i) => ({
      name: `samples ${i}`,
      run: () => {
        same(gaussianNoise(fraction(scale)).sample(samples.length, stream(key)).join(), samples.join(), "samples");
      },
    })),
    {
      name: "edges",
      run: () => {
        checkEdges(vectors.edges);
      },
    },
    {
      name: "drawn by words",
      run: () => {
        const { rate, words, chosen } = vectors.drawn_by_words;
        same(drawExamples(words.length, Number(rate), new Words(words)).join(), chosen.join(), "who takes part");
      },
    },
    ...vectors.all_drawn.map(({ count, given }, i) => ({
      name: `all drawn ${i}`,
      run: () => {
        const found = drawExamples(count, Number(given.rate), stream(given.key));
        same([found.length, found.at(0), found.at(-1)].join(), "50,0,49", "who takes part");
      },
    })),
    ...vectors.drawn.map(({ rate, key, count, chosen }, i) => ({
      name: `drawn ${i}`,
      run: () => {
        same(drawExamples(count, Number(rate), stream(key)).join(), chosen.join(), "who takes part");
      },
    })),
  ];
}

export function stream(key: string): ChaChaStream {
  return new ChaChaStream(bytesOf(key), true);
}

function hex(words: BigUint64Array): string {
  return Array.from(words, (word) => `0x${word.toString(16)}`).join();
}

function checkStream({ key, counts, words }: Vectors["streams"][number]): void {
  const source = stream(key);
  same(
    counts
      .map((n) => hex(source.uint64(n)))
      .filter(Boolean)
      .join(),
    words.join(),
    "words",
  );
}

function checkTable({ variance, entries, sha256: digest }: Vectors["tables"][number]): void {
  const { high, low } = gaussianTable(fraction(variance));
  same(String(low.length), String(entries), "entries");
  const view = new DataView(new ArrayBuffer(16 * low.length));
  low.forEach((word, i) => {
    view.setBigUint64(8 * i, high[i] ?? 0n);
    view.setBigUint64(8 * (low.length + i), word);
  });
  same(toHex(sha256(new Uint8Array(view.buffer))), digest, "table");
}

function checkEdges({ scale, words, count, samples }: Vectors["edges"]): void {
  const source = new Words(words);
  same(gaussianNoise(fraction(scale)).sample(count, source).join(), samples.join(), "samples");
  same(String(source.left), "0", "words left");
}
