/** When the phone's place is renewed: what is due at most once a minute, what is doubtful every ten. */

import { RefusedError, SkerryError } from "../errors.ts";
import { reasonOf } from "./loop.ts";
import type { Reason } from "./phone.ts";
import type { Standing } from "./standing.ts";

const [FORCED_APART_MS, TRIED_APART_MS] = [10 * 60_000, 60_000];
/** What the desk says for good. */
const ENDING = ["revoked", "denied", "unknown_device", "identity_in_use"];

/** What came of it; `ended`: there is no place any more. */
export interface Upkept {
  readonly renewed: boolean;
  readonly ended: boolean;
  readonly reason: Reason | null;
}

const NOTHING: Upkept = { renewed: false, ended: false, reason: null };

export class Upkeep {
  #forced: number | undefined;
  #tried: number | undefined;

  constructor(
    private readonly standing: Standing,
    private readonly clock: () => number,
  ) {}

  /**
   * Renews what is due; where that fails while the certificate still holds, the work goes on.
   *
   * @param doubtful ask although nothing is due: what comes in the coordinator's name is not signed by who we were told.
   */
  async keepUp(doubtful: boolean): Promise<Upkept> {
    const now = this.clock();
    const member = await this.standing.member();
    const force = (doubtful || member?.coordinator === null) && !within(FORCED_APART_MS, this.#forced, now);
    const due = (await this.standing.due()) && !within(TRIED_APART_MS, this.#tried, now);
    if (!(force || due)) return NOTHING;
    this.#tried = now;
    if (force) this.#forced = now;
    try {
      await this.standing.renew();
      return { ...NOTHING, renewed: true };
    } catch (error) {
      if (!(error instanceof SkerryError)) throw error;
      const expired = member !== undefined && now >= member.certificate.ends;
      const ended = error instanceof RefusedError && (expired || ENDING.includes(error.reason));
      return { renewed: false, ended, reason: reasonOf(error) };
    }
  }
}

function within(span: number, since: number | undefined, now: number): boolean {
  return since !== undefined && now - since >= 0 && now - since < span;
}
