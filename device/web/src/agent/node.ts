/** The phone's node while it is online, and its signs of life, which go on while it computes. */

import { CallFailedError } from "./line.ts";
import type { FleetCalls } from "./fleet.ts";
import type { Random } from "./pace.ts";

const SHARE = 0.6; // of the interval that was promised: one may be lost on its way
const AGAIN_MS = 3000;

export class Node {
  #id: bigint | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly fleet: FleetCalls,
    private readonly random: Random,
  ) {}

  /** `undefined` while it is offline. */
  get id(): bigint | undefined {
    return this.#id;
  }

  online(id: bigint): void {
    this.#id = id;
    this.#later(this.#interval());
  }

  /** It is offline, and says so. */
  async offline(): Promise<void> {
    const id = this.#id;
    this.lost();
    if (id !== undefined) await this.fleet.deactivate(id);
  }

  /** The SuperLink does not know it any more, or is not told. */
  lost(): void {
    this.#id = undefined;
    clearTimeout(this.#timer);
  }

  #later(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#beat(), ms);
  }

  async #beat(): Promise<void> {
    const id = this.#id;
    if (id === undefined) return;
    let [known, wait] = [true, this.#interval()];
    try {
      known = await this.fleet.alive(id);
    } catch (error) {
      if (!(error instanceof CallFailedError)) throw error;
      [known, wait] = [error.fault !== "not_registered", AGAIN_MS]; // the loop meets it too, and says so
    }
    if (this.#id !== id) return;
    if (known) this.#later(wait);
    else this.lost();
  }

  #interval(): number {
    return this.fleet.heartbeat * 1000 * SHARE * (0.9 + 0.1 * this.random());
  }
}
