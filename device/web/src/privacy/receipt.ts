/** What a device gives for a debit: "the first n entries of my ledger have this root, the last one is this debit". */

import { sha256 } from "@noble/hashes/sha2.js";
import type { Bytes } from "../bytes.ts";
import { encode } from "../canonical/index.ts";

const DOMAIN = "skerry/receipt/1";

/** See `Receipt` in `security/privacy/receipt.py`; `leaf` and `root` in hex. */
export interface Receipt {
  readonly run: string;
  readonly round: number;
  readonly device: string;
  readonly leaf: string;
  readonly size: number;
  readonly root: string;
}

/** 32 bytes, for the header of the envelope that is sent with it. */
export function receiptDigest({ run, round, device, leaf, size, root }: Receipt): Bytes {
  return sha256(encode([DOMAIN, run, round, device, leaf, size, root]));
}
