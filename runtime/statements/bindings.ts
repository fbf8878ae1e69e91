import { concat, fromBase64, fromHex, sha256, toHex, utf8 } from '../crypto/bytes.ts';
import { type EcPublicJwk, thumbprint } from '../crypto/jwk.ts';

export interface QuoteBinding {
  /** Hex SHA-256 of the agreement's payload. */
  readonly agreementDigest: string;
  readonly receiptKey: EcPublicJwk;
  readonly runId: string;
}

export interface ReleaseBinding {
  /** Hex SHA-256 of the agreement's payload. */
  readonly agreementDigest: string;
  readonly receiptKey: EcPublicJwk;
  /** The TPMS_ATTEST bytes that the attestation key signed. */
  readonly quoteMessage: Uint8Array;
}

/**
 * Qualifying data of the run's quote (design section 4): ties the machine to this agreement, this run and the key that signs its receipt.
 * Every part has a fixed width, so no two inputs give the same bytes.
 */
export function quoteNonce({ agreementDigest, receiptKey, runId }: QuoteBinding): Uint8Array {
  return sha256(
    concat(utf8('quote/v1'), digestBytes(agreementDigest), fromBase64(thumbprint(receiptKey)), sha256(utf8(runId))),
  );
}

/**
 * Nonce of every key release (design section 4), as hex text: the vault signs it back, which ties the receipt to a release this vault made.
 */
export function releaseNonce({ agreementDigest, receiptKey, quoteMessage }: ReleaseBinding): string {
  return toHex(
    sha256(
      concat(
        utf8('release/v1'),
        digestBytes(agreementDigest),
        fromBase64(thumbprint(receiptKey)),
        sha256(quoteMessage),
      ),
    ),
  );
}

function digestBytes(hex: string): Uint8Array {
  const bytes = fromHex(hex, 'agreement digest');
  if (bytes.length !== 32) throw new RangeError(`agreement digest is ${bytes.length} bytes, wanted 32`);
  return bytes;
}
