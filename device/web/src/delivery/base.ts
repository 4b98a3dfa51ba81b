/**
 * The frozen base that an instruction names, as `device/basemodel.py` and `device/agent/bases.py`: its digest is that of
 * its manifest, which names the digest of every file. Nothing else is believed of what comes. A download that breaks off
 * goes on where it was, and what was kept is checked again whenever it is loaded.
 */

import { fromUtf8, type Bytes } from "../bytes.ts";
import { InputError, RefusedError, SkerryError } from "../errors.ts";
import { CallFailedError } from "../agent/line.ts";
import type { Database } from "../storage/database.ts";
import { Whitening } from "../training/whitening.ts";
import { CLASSES, INPUT_SHAPE } from "../preparation/digits.ts";
import { Download, type Get } from "./download.ts";
import { checkOperations } from "./operations.ts";
import { readTensors, type Tensor } from "./safetensors.ts";

const [MANIFEST, NETWORK, HEAD] = ["base.json", "base.int8.onnx", "head.safetensors"];
const [LONGEST_MANIFEST, LARGEST] = [1 << 20, 1 << 28];
const SHA256 = /^[0-9a-f]{64}$/;
/** The kind of model that a phone trains: the digits' recipe (`core/config/digits.toml`). */
const AGREED = {
  architecture: "efficientnet_lite0",
  bits: 8,
  blocks: 11,
  grid: 2,
  components: 256,
  input_shape: [...INPUT_SHAPE],
  classes: [...CLASSES],
};

/** A base that was checked against its digest. */
export interface Base {
  readonly digest: string;
  readonly bytes: number;
  readonly network: Bytes;
  readonly whitening: Whitening;
  readonly bias: number;
  /** What the network's features are whole multiples of; 0 where of nothing. */
  readonly step: number;
  /** (classes · width,): the head that public data gave. */
  readonly initial: Float32Array;
  /** Numbers per example that the head sees. */
  readonly width: number;
}

/** The base that is in use: loaded once, fetched where it is not here. */
export class Bases {
  #loaded: Base | undefined;

  constructor(private readonly database: Database) {}

  /** What of it a person sees. */
  get shown(): { readonly digest: string; readonly bytes: number } | null {
    return this.#loaded === undefined ? null : { digest: this.#loaded.digest, bytes: this.#loaded.bytes };
  }

  /**
   * The base of that digest, fetched where it is not here; all others are removed: a phone has room for one.
   *
   * @param step hears the share of a file that is here, and may throw to stop; what came is kept.
   * @throws InputError when it cannot be had, or is not of a form that is read here.
   * @throws RefusedError `wrong_model` or `layer_refused`.
   * @throws CallFailedError when the gateway cannot give it now; what came is kept.
   */
  async load(digest: string, get: Get, step: (share: number) => void): Promise<Base> {
    if (this.#loaded?.digest !== digest) this.#loaded = await this.#read(digest, get, step);
    const others = (await this.database.keys("files")).filter((key) => !String(key).startsWith(digest));
    await this.database.write(others.map((key) => ({ store: "files", key })));
    return this.#loaded;
  }

  /** A base that is here and whole, of that digest or any; nothing is fetched, and nothing removed. */
  async here(digest?: string): Promise<Base | undefined> {
    if (this.#loaded !== undefined) return this.#loaded;
    const found = digest ?? String((await this.database.keys("files"))[0] ?? "").slice(0, 64);
    const nobody: Get = () => Promise.reject(new CallFailedError("unreachable", "nothing is fetched for a guess"));
    try {
      const base = await this.#read(found, nobody, () => undefined);
      this.#loaded ??= base;
      return this.#loaded;
    } catch (error) {
      if (error instanceof SkerryError) return undefined;
      throw error;
    }
  }

  async #read(digest: string, get: Get, step: (share: number) => void): Promise<Base> {
    if (!SHA256.test(digest)) throw new InputError("a base is named by a SHA-256");
    const download = new Download(this.database, get, step);
    const manifest = await download.file(digest, MANIFEST, digest, LONGEST_MANIFEST);
    const facts = factsOf(manifest);
    const files = facts["files"] as Record<string, unknown>;
    const named = (name: string): string => {
      const wanted = files[name];
      if (typeof wanted !== "string" || !SHA256.test(wanted)) throw new InputError(`the base names no ${name}`);
      return wanted;
    };
    const head = await download.file(digest, HEAD, named(HEAD), LARGEST);
    const network = await download.file(digest, NETWORK, named(NETWORK), LARGEST);
    checkOperations(network);
    const bytes = manifest.length + head.length + network.length;
    return { digest, bytes, network, ...partsOf(facts, head) };
  }

  /** Forgets what is in memory. */
  forget(): void {
    this.#loaded = undefined;
  }
}

function factsOf(manifest: Bytes): Record<string, unknown> {
  let found: unknown;
  try {
    found = JSON.parse(fromUtf8(manifest));
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
  }
  const facts = typeof found === "object" && found !== null ? (found as Record<string, unknown>) : {};
  if (typeof facts["files"] !== "object" || facts["files"] === null || facts["schema"] !== 3) {
    throw new InputError("this is no base of a head that is read here");
  }
  const other = Object.entries(AGREED).filter(([name, value]) => JSON.stringify(facts[name]) !== JSON.stringify(value));
  if (other.length > 0) {
    const names = other.map(([name]) => name).join(", ");
    throw new RefusedError("wrong_model", `this base says it has another ${names} than the model that was agreed to`);
  }
  return facts;
}

function partsOf(facts: Record<string, unknown>, head: Bytes): Omit<Base, "digest" | "bytes" | "network"> {
  const [bias, bound, step] = [facts["bias"], facts["longest_row"], facts["step"]];
  if (typeof bias !== "number" || typeof bound !== "number" || !(bound > 0) || typeof step !== "number" || step < 0) {
    throw new InputError("a fact is missing");
  }
  const tensors = readTensors(head);
  const [mean, values, scale, initial] = ["mean", "values", "scale", "initial"].map((name) => tensors.get(name));
  if (tensors.size !== 4 || !isFloat(mean) || !isFloat(scale) || !isFloat(initial)) throw other();
  if (!(values?.values instanceof Int8Array) || values.shape.length !== 2) throw other();
  const whitening = new Whitening(mean.values, values.values, scale.values, bound);
  const width = whitening.components + 1;
  if (values.shape[0] !== mean.values.length || initial.values.length !== CLASSES.length * width) throw other();
  return { whitening, bias, step, initial: initial.values, width };
}

function isFloat(tensor: Tensor | undefined): tensor is Tensor & { readonly values: Float32Array<ArrayBuffer> } {
  return tensor?.values instanceof Float32Array;
}

function other(): InputError {
  return new InputError("the whitening and the first head are of other sizes or types");
}
