/** Telling the federation that the phone leaves for good, before anything of it is erased. */

import { checkLeft, leaveRequest } from "../enrolment/records.ts";
import { RefusedError, SkerryError } from "../errors.ts";
import type { Desk } from "./desk.ts";
import type { Standing } from "./standing.ts";

/** What the desk says of a phone that has no place there any more: there is nobody to tell. */
const OUT_BEFORE = ["revoked", "unknown_device"];
const MEND = "nothing was erased: try again later, or leave once more now, and all is erased without telling it";

export class Leaving {
  /** The owner wanted to leave, and the federation could not be told. */
  #untold = false;

  constructor(
    private readonly desk: Desk,
    private readonly clock: () => number,
  ) {}

  /**
   * Returns when the federation has said, signed, that the phone is out; or has nothing to say to it.
   *
   * @throws RefusedError `not_told`, the first time that it cannot be told; who leaves once more leaves without telling.
   */
  async tell(standing: Standing): Promise<void> {
    try {
      await this.#told(standing);
    } catch (error) {
      if (!(error instanceof SkerryError)) throw error;
      const out = error instanceof RefusedError && OUT_BEFORE.includes(error.reason);
      if (!out && !this.#untold) {
        this.#untold = true;
        throw new RefusedError("not_told", `the federation was not told that this phone leaves (${error.what})`, MEND);
      }
    }
    this.#untold = false;
  }

  async #told(standing: Standing): Promise<void> {
    const [member, keys] = [await standing.member(), await standing.keys()];
    if (member === undefined || keys === undefined) return;
    const { federation, root, certificate } = member;
    const now = this.clock();
    const request = await leaveRequest(standing.signers(keys), { federation, serial: certificate.serial, now });
    await checkLeft(await this.desk.leave(request), request, root, now);
  }
}
