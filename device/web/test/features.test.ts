/** A network that is away while WebAssembly loads says nothing of the model, and does not put the phone out. */

import { readFile } from "node:fs/promises";
import { afterEach, expect, it, vi } from "vitest";
import { CallFailedError } from "../src/agent/line.ts";
import { InputError } from "../src/errors.ts";
import { loadNetwork } from "../src/training/features.ts";

afterEach(() => {
  vi.unstubAllGlobals();
});

it("is fetched again after it did not come, and only then judges the model", async () => {
  const wasm = await readFile("node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm");
  const answers = [
    (): Response => {
      throw new TypeError("Failed to fetch");
    },
    () => new Response("not found", { status: 404 }),
    () => new Response(wasm),
  ];
  const fetched = vi.fn(() => Promise.resolve().then(() => (answers.shift() ?? Response.error)()));
  vi.stubGlobal("fetch", fetched);
  vi.stubGlobal("crossOriginIsolated", false);
  const load = () => loadNetwork(Uint8Array.of(1, 2, 3), [1, 64, 64], 1280, 0);
  await expect(load()).rejects.toThrow(CallFailedError);
  await expect(load()).rejects.toThrow(CallFailedError);
  await expect(load()).rejects.toThrow(InputError);
  await expect(load()).rejects.toThrow(/cannot read the network/);
  expect(fetched).toHaveBeenCalledTimes(3);
});
