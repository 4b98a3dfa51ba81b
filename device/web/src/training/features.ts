/**
 * The frozen int8 network in WebAssembly (onnxruntime-web), from examples to the rows that a head reads.
 *
 * Examples are run one at a time: a row depends, to the last bit, on its own example alone. Differential privacy of what
 * is trained on the rows rests on this.
 */

import type { InferenceSession, Tensor } from "onnxruntime-web/wasm";
import type { Bytes } from "../bytes.ts";
import { CallFailedError } from "../agent/line.ts";
import { InputError } from "../errors.ts";
import { onGrid } from "./pooled.ts";

const MOST_THREADS = 4;
/** How the runtime begins to say that it did not start itself, whatever the model. */
const NOT_STARTED = "no available backend found";

/** Numbers of one example, in and out of a network. */
export interface Network {
  /** (f,) pooled features, as whole multiples of the network's step; NaN where the network fails on the example. */
  run(input: Float32Array): Promise<Float32Array>;
  /** Frees its memory, once what runs is done. */
  release(): Promise<void>;
}

type Runtime = typeof import("onnxruntime-web/wasm");

/**
 * Loads a network into the WebAssembly runtime, which is fetched on first use, and again where that failed.
 *
 * @param shape channels, height and width of one example.
 * @param outputs how many features it gives.
 * @param step what features are whole multiples of, which a runtime misses in the last bits; 0 leaves them as they come.
 * @throws CallFailedError when the runtime cannot be fetched now or does not start: that says nothing of the network.
 * @throws InputError when the runtime cannot read it, or it is one of another form.
 */
export async function loadNetwork(
  model: Bytes,
  shape: readonly number[],
  outputs: number,
  step: number,
): Promise<Network> {
  const ort = await runtime();
  ort.env.wasm.numThreads = crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency) : 1;
  ort.env.logLevel = "fatal"; // what the examples are must not show
  let session: InferenceSession;
  try {
    session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"], logSeverityLevel: 4 });
  } catch (error) {
    const why = reasonOf(error);
    if (why.startsWith(NOT_STARTED)) throw new CallFailedError("unreachable", `WebAssembly does not start: ${why}`);
    throw new InputError(`this phone cannot read the network: ${why}`);
  }
  const [read, given] = [session.inputNames, session.outputNames];
  const [input, output] = [read[0], given[0]];
  if (input === undefined || output === undefined || read.length + given.length !== 2) {
    throw new InputError("the network reads or gives several things");
  }
  const dims = [1, ...shape];
  return {
    async run(values) {
      let found: Tensor | undefined;
      try {
        found = (await session.run({ [input]: new ort.Tensor("float32", values, dims) }))[output];
      } catch {
        return new Float32Array(outputs).fill(NaN); // left out by training: an error would tell something of it
      }
      const data = found?.data;
      if (!(data instanceof Float32Array && data.length === outputs)) return new Float32Array(outputs).fill(NaN);
      return onGrid(data, step);
    },
    release: () => session.release(),
  };
}

/** The runtime with its WebAssembly, which it would not fetch a second time itself. @throws CallFailedError */
async function runtime(): Promise<Runtime> {
  try {
    const [ort, { default: url }] = await Promise.all([
      import("onnxruntime-web/wasm"),
      import("onnxruntime-web/ort-wasm-simd-threaded.wasm?url"),
    ]);
    ort.env.wasm.wasmBinary ??= await fetched(url);
    return ort;
  } catch (error) {
    throw new CallFailedError("unreachable", `the page's own program does not come: ${reasonOf(error)}`);
  }
}

async function fetched(url: string): Promise<ArrayBuffer> {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return answer.arrayBuffer();
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : "no reason given";
}
