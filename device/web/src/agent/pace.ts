/** How often the phone asks: quickly after it had work, slowly when nothing happens, ever more rarely in trouble. */

/** Numbers in [0, 1); jitter, no secret. */
export type Random = () => number;

const [FAST, SLOW, IDLE] = [0.3, 1, 5];
const [HOT, WARM] = [10, 120];
const JITTER = 0.2;

/** Seconds to the next question, by how many seconds ago there was work; each with ±20 % of chance. */
export function pace(since: number, random: Random): number {
  const wait = since < HOT ? FAST : since < WARM ? SLOW : IDLE;
  return wait * (1 - JITTER + 2 * JITTER * random());
}

/** Waits after failures that follow one another: doubling up to a longest, each anywhere in its upper half. */
export class Backoff {
  #next: number;

  constructor(
    private readonly first: number,
    private readonly longest: number,
    private readonly random: Random,
  ) {
    this.#next = first;
  }

  /** Seconds to wait after one more failure; never less than what the server asked for. */
  failed(atLeast = 0): number {
    const wait = this.#next * (0.5 + this.random() / 2);
    this.#next = Math.min(2 * this.#next, this.longest);
    return Math.max(wait, atLeast);
  }

  /** It works again. */
  worked(): void {
    this.#next = this.first;
  }
}
