/** What surrounds a phone: the browser it is in, as far as the phone sees it. */

import type { Database } from "../storage/database.ts";
import type { Witness } from "../storage/witness.ts";
import type { loadNetwork } from "../training/features.ts";
import type { Fetch } from "./line.ts";
import type { Random } from "./pace.ts";

/** What a device is made of; a test holds each. */
export interface Parts {
  readonly database: Database;
  readonly witness: Witness;
  readonly ask: Fetch;
  readonly origin: string;
  readonly clock: () => number;
  readonly monotonic: () => number;
  readonly random: Random;
  readonly loadNetwork: typeof loadNetwork;
  readonly persisted: () => Promise<boolean>;
}
