/**
 * The phone's core without a page, for a test that drives it. It is built beside the page, never into it: a phone follows
 * no seed, and `seededUpdate` is here only.
 */

import { openPhone, readInvite } from "../../src/agent/index.ts";
import type { Bytes } from "../../src/bytes.ts";
import { readTensors } from "../../src/delivery/safetensors.ts";
import { seededStream } from "../../src/noise/stream.ts";
import { CLASSES, INPUT_SHAPE, networkInput } from "../../src/preparation/digits.ts";
import { loadNetwork } from "../../src/training/features.ts";
import { HeadTrainer, type PrivatePlan } from "../../src/training/head.ts";
import { Whitening } from "../../src/training/whitening.ts";

interface Given {
  /** Base64 of the base's files. */
  readonly network: string;
  readonly head: string;
  readonly bound: number;
  readonly bias: number;
  readonly step: number;
  /** 8×8 of each example, and the classes. */
  readonly blocks: readonly (readonly number[])[];
  readonly labels: readonly number[];
  readonly plan: PrivatePlan;
  readonly seed: number;
  readonly device: string;
  readonly round: number;
}

/** What a head becomes here with noise that Python can draw too: pooled features, rows, and the delta. */
async function seededUpdate(given: Given): Promise<{ pooled: number[][]; rows: number[][]; delta: number[] }> {
  const tensors = readTensors(bytesOf(given.head));
  const of = (name: string): Float32Array => tensors.get(name)?.values as Float32Array;
  const values = tensors.get("values")?.values as Int8Array;
  const whitening = new Whitening(of("mean"), values, of("scale"), given.bound);
  const network = await loadNetwork(bytesOf(given.network), INPUT_SHAPE, of("mean").length, given.step);
  const pooled: Float32Array[] = [];
  for (const blocks of given.blocks) pooled.push(await network.run(networkInput(Uint8Array.from(blocks))));
  const rows = pooled.map((features) => whitening.row(features, given.bias));
  const trainer = new HeadTrainer(CLASSES.length, whitening.components + 1);
  const stream = seededStream(given.seed, "train", given.device, given.round);
  const delta = await trainer.train(of("initial"), rows, given.labels, given.plan, stream);
  return { pooled: pooled.map((one) => [...one]), rows: rows.map((one) => [...one]), delta: [...delta] };
}

function bytesOf(base64: string): Bytes {
  return Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
}

Object.assign(window, { phone: openPhone(), readInvite, seededUpdate });
