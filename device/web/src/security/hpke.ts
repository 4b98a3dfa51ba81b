/**
 * Sealing to a public key: HPKE's base mode (RFC 9180) with HKDF-SHA256 and AES-256-GCM, as `security/hpke.py`.
 *
 * `@hpke/core` computes it by WebCrypto. A key of suite `xwing` can be named here, but browsers lack ML-KEM: nothing is
 * sealed to it and nothing opened by it.
 */

import {
  Aes256Gcm,
  CipherSuite,
  DecapError,
  DeserializeError,
  DhkemP256HkdfSha256,
  DhkemX25519HkdfSha256,
  HkdfSha256,
  OpenError,
} from "@hpke/core";
import { concat, type Bytes } from "../bytes.ts";
import { InputError } from "../errors.ts";
import { checkBytes } from "./strict.ts";
import { isSmallOrderX25519 } from "./small_order.ts";

/** Every suite of the protocol. */
export const KEM_SUITES = ["x25519", "p256", "xwing"] as const;
/** By which key agreement a key is sealed to. */
export type KemSuite = (typeof KEM_SUITES)[number];

const TAG = 16;
/** The least by which sealing lengthens: X25519's encapsulated key and the tag. */
export const LEAST_OVERHEAD = 32 + TAG;

const PARTS = {
  x25519: { encoded: 32, algorithm: { name: "X25519" }, suite: suiteOf(new DhkemX25519HkdfSha256()) },
  p256: { encoded: 65, algorithm: { name: "ECDH", namedCurve: "P-256" }, suite: suiteOf(new DhkemP256HkdfSha256()) },
};

type Parts = (typeof PARTS)[keyof typeof PARTS];

function suiteOf(kem: DhkemX25519HkdfSha256 | DhkemP256HkdfSha256): CipherSuite {
  return new CipherSuite({ kem, kdf: new HkdfSha256(), aead: new Aes256Gcm() });
}

function partsOf(suite: KemSuite): Parts {
  if (suite === "xwing") {
    throw new InputError(
      "browsers have no ML-KEM, so suite xwing is not for them",
      "give the federation a key of suite x25519 or p256",
    );
  }
  return PARTS[suite];
}

/** A key that others seal to. One that is off its curve, or of small order, cannot be held by this class. */
export class KemPublicKey {
  private constructor(
    readonly suite: KemSuite,
    readonly raw: Bytes,
    private readonly key: CryptoKey,
  ) {}

  /**
   * @param raw X25519: 32 bytes (RFC 7748); P-256: 65 bytes, uncompressed (SEC 1).
   * @throws InputError for another suite or length, or a key that protects nothing.
   */
  static async of(suite: KemSuite, raw: Bytes): Promise<KemPublicKey> {
    const parts = partsOf(suite);
    checkBytes(raw, `a sealing key of suite ${suite}`, parts.encoded);
    if (suite === "x25519" && isSmallOrderX25519(raw)) throw unusable();
    try {
      return new KemPublicKey(suite, raw, await parts.suite.kem.deserializePublicKey(raw));
    } catch (error) {
      if (error instanceof DeserializeError) throw unusable();
      throw error;
    }
  }

  /** Bytes by which sealing lengthens. */
  get overhead(): number {
    return partsOf(this.suite).encoded + TAG;
  }

  /**
   * `encapsulated key ‖ ciphertext ‖ tag (16)`, which only the private key opens, under the same `info`.
   *
   * @param once the sender's one-time key pair, for vectors only: used twice, it gives the message away.
   */
  async seal(plaintext: Bytes, info: Bytes, once?: CryptoKeyPair): Promise<Bytes> {
    const sealed = await partsOf(this.suite).suite.seal(
      { recipientPublicKey: this.key, info, ...(once && { ekm: once }) },
      plaintext,
    );
    return concat([new Uint8Array(sealed.enc), new Uint8Array(sealed.ct)]);
  }
}

function unusable(): InputError {
  return new InputError("a sealing key that is malformed, off its curve or of small order protects nothing");
}

/** The key pair that opens what was sealed to its public half; the private one need not be extractable. */
export class KemKeyPair {
  constructor(
    readonly suite: KemSuite,
    readonly pair: CryptoKeyPair,
    readonly publicRaw: Bytes,
  ) {}

  /** A fresh pair whose private half never leaves the browser's own memory. */
  static async generate(suite: KemSuite): Promise<KemKeyPair> {
    const { algorithm } = partsOf(suite);
    const pair = (await crypto.subtle.generateKey(algorithm, false, ["deriveBits"])) as CryptoKeyPair;
    return new KemKeyPair(suite, pair, new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)));
  }

  /** The plaintext, or `undefined` when it was sealed to another key, under another `info`, or was altered. */
  async open(sealed: Bytes, info: Bytes): Promise<Bytes | undefined> {
    const { encoded, suite } = partsOf(this.suite);
    if (sealed.length < encoded + TAG) return undefined;
    const enc = sealed.subarray(0, encoded);
    if (this.suite === "x25519" && isSmallOrderX25519(enc)) return undefined;
    try {
      return new Uint8Array(await suite.open({ recipientKey: this.pair, enc, info }, sealed.subarray(encoded)));
    } catch (error) {
      if (error instanceof OpenError || error instanceof DecapError || error instanceof DeserializeError)
        return undefined;
      throw error;
    }
  }
}
