import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { certificatePem } from '../../../emulator/amd-certificate.ts';
import { type Evidence, parsePcrs } from '../../../runtime/attestation/evidence.ts';
import { fromBase64, fromHex } from '../../../runtime/crypto/bytes.ts';

/** Public evidence of real machines, read where it lies and never copied into the repository. */
const FOLDER = process.env.ATTESTATION_VECTORS ?? '../shared/vectors';

/** For `describe.skipIf`; says so where the vectors are absent. */
export const VECTORS_ABSENT = !existsSync(join(FOLDER, 'README.md'));
if (VECTORS_ABSENT) console.warn(`attestation vectors skipped: nothing at ${FOLDER} (ATTESTATION_VECTORS)`);

export function vector(path: string): Uint8Array {
  return Uint8Array.from(readFileSync(join(FOLDER, path)));
}

export function textVector(path: string): string {
  return readFileSync(join(FOLDER, path), 'utf8');
}

/** The nonce in the quotes of confidential-containers/trustee. */
export const CHALLENGE = 'challenge';

/** hcl-report.bin, vcek.pem and tpm-quote-v1.json of trustee: a Milan machine of 2023, report version 2. */
export function milan2023(): Evidence {
  return {
    hclReport: vector('trustee/az-snp-vtpm/hcl-report.bin'),
    vcekChain: textVector('trustee/az-snp-vtpm/vcek.pem'),
    quote: trusteeQuote(JSON.parse(textVector('trustee/az-snp-vtpm/tpm-quote-v1.json'))),
  };
}

/** evidence-v1.json of trustee: a Milan machine of 2025, report version 3. The roots come from a file of their own. */
export function milan2025(): Evidence {
  const bundle = JSON.parse(textVector('trustee/az-snp-vtpm/evidence-v1.json'));
  const roots = textVector('trustee/amd-roots/milan_ask_ark_asvk.pem').split(/(?<=-----END CERTIFICATE-----)/);
  return {
    hclReport: fromBase64(bundle.hcl_report),
    vcekChain: `${certificatePem(fromBase64(bundle.vcek))}${roots[0]}${roots[1]}`,
    quote: trusteeQuote(bundle.tpm_quote),
  };
}

interface TrusteeQuote {
  readonly message: string;
  readonly signature: string;
  readonly pcrs: readonly string[];
}

function trusteeQuote({ message, signature, pcrs }: TrusteeQuote): Evidence['quote'] {
  return { message: fromHex(message), signature: fromHex(signature), pcrs: parsePcrs({ ...pcrs }) };
}

/** The layout of quote.bin (kinvolk az-cvm-vtpm, bincode): u64 LE length and bytes of signature, then message, then u64 count of PCRs. */
export function bincodeQuote(bytes: Uint8Array): Evidence['quote'] {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const signatureEnd = 8 + Number(view.getBigUint64(0, true));
  const messageStart = signatureEnd + 8;
  const messageEnd = messageStart + Number(view.getBigUint64(signatureEnd, true));
  const pcrs = Array.from({ length: Number(view.getBigUint64(messageEnd, true)) }, (_, i): [string, string] => {
    const start = messageEnd + 8 + 32 * i;
    return [String(i), Buffer.from(bytes.subarray(start, start + 32)).toString('hex')];
  });
  return {
    signature: bytes.slice(8, signatureEnd),
    message: bytes.slice(messageStart, messageEnd),
    pcrs: parsePcrs(Object.fromEntries(pcrs)),
  };
}
