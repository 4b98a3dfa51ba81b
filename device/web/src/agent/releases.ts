/** The federation's released model on this phone: looked for now and then, taken, and used where it is the newest head. */

import type { Bytes } from "../bytes.ts";
import type { Bases, Base } from "../delivery/base.ts";
import { Blobs } from "../delivery/blobs.ts";
import type { Get } from "../delivery/download.ts";
import { fileOf, manifestOf, type Accepted } from "../delivery/release.ts";
import { metadataOf, readTensors } from "../delivery/safetensors.ts";
import { newest, NoSuchModelError, type Believed, type Memory } from "../delivery/trust/trust.ts";
import { InputError, ReleaseRefusedError, SkerryError } from "../errors.ts";
import { CLASSES } from "../preparation/digits.ts";
import type { Identity } from "../security/identity.ts";
import type { Database } from "../storage/database.ts";
import { CallFailedError, type GatewayLine } from "./line.ts";
import { reasonOf, YieldedError } from "./loop.ts";
import type { Activity, PhoneView, Reason } from "./phone.ts";
import type { Standing } from "./standing.ts";

const MODEL = "digits";
const HEAD = "head.safetensors";
const [MOST_ROOT, MOST_HEAD] = [512_000, 1 << 20];
const EVERY_MS = 600_000;

/** A release whose head is here. */
interface Installed extends Accepted {
  /** When it was made and when it was installed, milliseconds since the epoch. */
  readonly created: number;
  readonly at: number;
  /** Digest of the base that the head is over. */
  readonly base: string;
  readonly vector: Float32Array;
}

/** What a phone has around it when it looks. */
export interface Around {
  readonly standing: Standing;
  readonly line: GatewayLine;
  readonly bases: Bases;
  readonly clock: () => number;
  readonly monotonic: () => number;
  /** Hears what is done, and may throw to stop. */
  readonly step: (activity: Activity, progress: number | null) => void;
}

export class Releases {
  #next = -Infinity;
  #refused: Reason | null = null;

  private constructor(
    private readonly database: Database,
    private installed: Installed | undefined,
  ) {}

  static async open(database: Database): Promise<Releases> {
    return new Releases(database, (await database.get("state", "release")) as Installed | undefined);
  }

  /** What of it a person sees; `null` before there is any. */
  get shown(): PhoneView["model"] {
    if (this.installed === undefined && this.#refused === null) return null;
    return { version: this.installed?.version ?? 0, at: this.installed?.at ?? 0, refused: this.#refused };
  }

  /** The released head over a base, if it was made after that time: both are of the federation's clocks. */
  headOver(base: Base, after: number): { readonly vector: Float32Array; readonly version: number } | undefined {
    const { installed } = this;
    return installed?.base === base.digest && installed.created > after ? installed : undefined;
  }

  /**
   * Looks for a newer release when it is time; whether what is shown is another than before. What fails is tried again
   * later, and what is refused is told; neither stops the phone.
   */
  async look({ standing, line, bases, clock, monotonic, step }: Around): Promise<boolean> {
    const [keys, now] = [await standing.keys(), monotonic()];
    if (keys === undefined) return false;
    const get: Get = (path, headers, longest) => line.get(path, headers, longest);
    if (now < this.#next) return false;
    const before = JSON.stringify(this.shown);
    try {
      await this.#take(standing.identity(keys), new Blobs(this.database, get), clock);
      this.#refused = null;
      // a phone that was in no round yet has no base to guess over; one that has another one keeps it
      if (this.installed !== undefined && (await bases.here()) === undefined) {
        await bases.load(this.installed.base, get, (share) => {
          step("fetching", share);
        });
      }
      this.#next = now + EVERY_MS;
    } catch (error) {
      if (!(error instanceof SkerryError)) throw error;
      if (error instanceof YieldedError) return false; // at the next turn that may work
      this.#next = now + EVERY_MS / (error instanceof CallFailedError ? 10 : 1);
      if (!(error instanceof CallFailedError)) this.#refused = reasonOf(error);
    }
    return JSON.stringify(this.shown) !== before;
  }

  /** Forgets what is in memory. */
  forget(): void {
    [this.installed, this.#refused, this.#next] = [undefined, null, -Infinity];
  }

  async #take(identity: Identity, blobs: Blobs, clock: () => number): Promise<void> {
    const memory = await this.#memory(blobs);
    if (memory === undefined) return; // this federation has released nothing
    const believed = await this.#believed(memory, blobs, clock());
    if (believed === undefined) return;
    const manifest = manifestOf(believed, MODEL, this.installed);
    await this.database.write([{ store: "state", key: "trust", value: believed.memory }]);
    if (manifest.digest === this.installed?.digest) return;
    const head = await fileOf(manifest, HEAD, MOST_HEAD, identity, blobs);
    const { version, digest, created } = manifest;
    const installed = { version, digest, created, keys: believed.keys, at: clock(), ...headIn(head) };
    await this.database.write([{ store: "state", key: "release", value: installed }]);
    this.installed = installed;
    await blobs.drop("");
  }

  /** What the repository says; `undefined` where it has no such model, and this phone knows of none. */
  async #believed(memory: Memory, blobs: Blobs, now: number): Promise<Believed | undefined> {
    try {
      return await newest(memory, MODEL, (path, most) => blobs.file(path, most), now);
    } catch (error) {
      if (error instanceof NoSuchModelError && this.installed === undefined) return undefined;
      throw error;
    }
  }

  /** What was remembered; at first the repository's first root, which is believed as the page is that shows it. */
  async #memory(blobs: Blobs): Promise<Memory | undefined> {
    const kept = (await this.database.get("state", "trust")) as Memory | undefined;
    if (kept !== undefined) return kept;
    const root = await blobs.file("metadata/1.root.json", MOST_ROOT);
    return root === undefined ? undefined : { root, floor: 0, roles: {} };
  }
}

/** The head of a release and the base that it says it is over. */
function headIn(data: Bytes): Pick<Installed, "vector" | "base"> {
  try {
    const weight = readTensors(data).get("head.weight");
    const base = metadataOf(data).get("base");
    const [classes, width] = weight?.shape ?? [];
    if (!(weight?.values instanceof Float32Array) || classes !== CLASSES.length || width === undefined || !base) {
      throw new InputError("it is no head for digits");
    }
    return { vector: weight.values, base };
  } catch (error) {
    if (error instanceof InputError) throw new ReleaseRefusedError("malformed", `the released head: ${error.what}`);
    throw error;
  }
}
