/** Who somebody is: one Ed25519 key to sign and one key to be sealed to, under one name (`security/identity/keys.py`). */

import { concat, utf8, type Bytes } from "../bytes.ts";
import { EnvelopeRefusedError, InputError } from "../errors.ts";
import { KemPublicKey, type KemKeyPair, type KemSuite } from "./hpke.ts";
import { isSmallOrderEd25519 } from "./small_order.ts";
import { checkBytes, checkName } from "./strict.ts";

/** What others know of an identity; both keys are usable. */
export class PublicIdentity {
  private constructor(
    readonly name: string,
    readonly signingKey: Bytes,
    readonly kem: KemPublicKey,
    /** Takes messages without their domain: use `verify`. */
    readonly verifyingKey: CryptoKey,
  ) {}

  /**
   * @param signingKey 32 bytes, Ed25519 (RFC 8032).
   * @throws InputError when a key cannot be used, or the name is none.
   */
  static async of(name: string, signingKey: Bytes, kemKey: Bytes, suite: KemSuite): Promise<PublicIdentity> {
    checkName(name, "an identity's name");
    checkBytes(signingKey, "a signing key", 32);
    if (isSmallOrderEd25519(signingKey)) throw new InputError("a public key of small order protects nothing");
    const verifyingKey = await crypto.subtle.importKey("raw", signingKey, "Ed25519", true, ["verify"]);
    return new PublicIdentity(name, signingKey, await KemPublicKey.of(suite, kemKey), verifyingKey);
  }

  /** The suite of the sealing key. */
  get suite(): KemSuite {
    return this.kem.suite;
  }

  /**
   * Returns when this identity signed `message` for `domain`.
   *
   * @throws EnvelopeRefusedError when it did not (`not_authentic`).
   */
  async verify(domain: string, message: Bytes, signature: Bytes): Promise<void> {
    if (!(await crypto.subtle.verify("Ed25519", this.verifyingKey, signature, separated(domain, message)))) {
      throw new EnvelopeRefusedError("not_authentic", "the signature does not hold under the sender's key");
    }
  }
}

/** A name with its private keys, which need not be extractable. */
export class Identity {
  constructor(
    readonly name: string,
    private readonly signing: CryptoKey,
    readonly kem: KemKeyPair,
    /** Sealing keys of epochs before, the newest first, for what is still on its way to them. */
    private readonly earlier: readonly KemKeyPair[] = [],
  ) {}

  /** What was sealed to the key, or to one of those before it, under this `info`; `undefined` when to none of them. */
  async open(sealed: Bytes, info: Bytes): Promise<Bytes | undefined> {
    for (const key of [this.kem, ...this.earlier]) {
      const plain = await key.open(sealed, info);
      if (plain !== undefined) return plain;
    }
    return undefined;
  }

  /** Ed25519 signature (64 bytes) over `len(domain) ‖ domain ‖ message`. */
  async sign(domain: string, message: Bytes): Promise<Bytes> {
    return new Uint8Array(await crypto.subtle.sign("Ed25519", this.signing, separated(domain, message)));
  }
}

/** What is signed; a signature for one use never verifies for another. */
function separated(domain: string, message: Bytes): Bytes {
  const name = utf8(domain);
  return concat([Uint8Array.of(name.length), name, message]);
}
