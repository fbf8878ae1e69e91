import { randomBytes } from 'node:crypto';
import { buildAzureGuestRequest, openAzureGuestResponse } from '../../runtime/attestation/azure-guest.ts';
import type { SignedQuote } from '../../runtime/attestation/evidence.ts';
import { API_VERSION } from '../../runtime/azure/attestation-client.ts';
import { toBase64Url } from '../../runtime/crypto/bytes.ts';
import { createEphemeralKey, type EphemeralKey, quotePcrs } from '../../runtime/tpm/azure-vtpm.ts';
import { createRemakeableKey } from './ephemeral-key.ts';
import { type Exchange, exchange, refusalText } from './exchange.ts';
import { pcrsTo } from './machine-steps.ts';
import { found, given, type Outcome, type Place, type Step } from './step.ts';

/** The exchange that all others differ from in one thing; a refusal of theirs means something only where it succeeds. */
const CONTROL = 'attest-as-microsoft';
const READ_FIRST = ['hcl-report', 'ak-certificate', 'ak-public', 'event-log', 'thim-certificates'];

/** How a request differs from the one that Microsoft's client makes. */
interface Variation {
  /** @default the provider of the release policy */
  readonly authority?: string;
  /** @default 0-7 */
  readonly pcrs?: readonly number[];
  /** @default - a fresh quote with empty qualifying data */
  readonly qualifyingData?: Uint8Array;
  readonly quote?: SignedQuote;
  /** @default - all-zero `unique` */
  readonly randomUnique?: true;
  /** @default - as read */
  readonly snpReport?: (genuine: Uint8Array) => Uint8Array;
  /** The certification of another key than the one that is sent. */
  readonly wrongKey?: true;
  /** Later releases are asked for with this token. */
  readonly keep?: true;
}

/** What the attestation service answers. */
export const ATTESTATION_STEPS: readonly Step[] = [
  document('openid-configuration', ['A8'], '.well-known/openid-configuration'),
  document('certs', ['A8'], 'certs'),
  {
    name: 'attestation-policy',
    questions: ['A9'],
    does: "reads the provider's policy for AzureGuest",
    file: 'attestation-policy.json',
    inputs: ['authority', 'credential'],
    run: readPolicy,
  },
  variation(CONTROL, ['A3', 'A8', 'A9'], "attests as Microsoft's own client does: the control", () => ({ keep: true })),
  variation(
    'attest-random-unique',
    ['A3'],
    'attests with an ephemeral key of random unique, as the trainer does',
    () => ({
      randomUnique: true,
      keep: true,
    }),
  ),
  variation('attest-pcrs-0-15', ['A1'], 'attests PCRs 0-15', () => ({ pcrs: pcrsTo(15) })),
  variation('attest-qualifying-data', ['A2'], 'attests with 32 bytes of qualifying data in the quote', () => ({
    qualifyingData: randomBytes(32),
  })),
  variation('attest-altered-report', ['A7'], 'attests with one bit of the signed report flipped', () => ({
    snpReport: flipOneBit,
  })),
  variation('attest-wrong-key', ['A7'], 'attests one key with the certification of another', () => ({
    wrongKey: true,
  })),
  {
    ...variation(
      'attest-old-quote',
      ['A7'],
      'attests with a quote of earlier (--earlier: of another boot)',
      (place) => ({
        quote: place.inputs.oldQuote ?? found(place.findings.plainQuote, 'quote-plain'),
      }),
    ),
    needs: [...READ_FIRST, CONTROL, 'quote-plain'],
  },
  elsewhere('attest-denying-policy', ['A7'], 'attests to a provider whose policy lets nobody in', 'denyingAuthority'),
  elsewhere('attest-every-input', ['A4'], 'attests to a provider whose policy issues every input', 'echoingAuthority'),
];

function document(name: string, questions: Step['questions'], path: string): Step {
  return {
    name,
    questions,
    does: `gets AUTHORITY/${path}`,
    file: `${name}.json`,
    inputs: ['authority'],
    run: async (place) => {
      const url = `${given(place, 'authority')}/${path}`;
      const content = await exchange(place.network, name, { method: 'GET', url });
      return { content, status: content.answer.status, unsettled: content.answer.status !== 200 };
    },
  };
}

function variation(name: string, questions: Step['questions'], does: string, vary: (place: Place) => Variation): Step {
  const isControl = name === CONTROL;
  return {
    name,
    questions,
    does,
    file: `${name}.json`,
    inputs: ['authority'],
    needs: isControl ? READ_FIRST : [...READ_FIRST, CONTROL],
    run: async (place) => {
      if (!isControl) found(place.findings.session, CONTROL);
      const content = await attest(place, vary(place));
      const { status } = content.answer;
      return { content, status, text: refusalText(content), unsettled: isControl && status !== 200 };
    },
  };
}

function elsewhere(
  name: string,
  questions: Step['questions'],
  does: string,
  input: 'denyingAuthority' | 'echoingAuthority',
): Step {
  return {
    ...variation(name, questions, does, (place) => ({ authority: given(place, input) })),
    inputs: ['authority', input],
  };
}

async function attest(place: Place, vary: Variation): Promise<Exchange> {
  const { tpm, network, findings } = place;
  const report = found(findings.report, 'hcl-report');
  const pcrs = vary.pcrs ?? pcrsTo(7);
  const ephemeral =
    vary.randomUnique === true ? await createEphemeralKey(tpm, pcrs) : await createRemakeableKey(tpm, pcrs);
  let kept = false;
  try {
    const body = buildAzureGuestRequest({
      akCertificate: found(findings.akCertificate, 'ak-certificate'),
      akPublicArea: found(findings.akPublicArea, 'ak-public'),
      pcrQuote: vary.quote ?? (await quotePcrs(tpm, vary.qualifyingData ?? new Uint8Array(), pcrs)),
      ephemeral: vary.wrongKey === true ? await withForeignArea(place, ephemeral) : ephemeral,
      nonce: toBase64Url(randomBytes(32)),
      snpReport: vary.snpReport?.(report.snpReport) ?? report.snpReport,
      runtimeClaims: report.runtimeClaims,
      vcekChain: found(findings.vcekChain, 'thim-certificates'),
      ...(findings.eventLog === undefined ? {} : { tcgLog: findings.eventLog }),
    });
    const url = `${vary.authority ?? given(place, 'authority')}/attest/AzureGuest?api-version=${API_VERSION}`;
    const answered = await exchange(network, 'attestation', { method: 'POST', url, body });
    if (answered.answer.status !== 200 || vary.wrongKey === true) return answered;
    const token = await openAzureGuestResponse(JSON.parse(answered.answer.body), (cipher) =>
      ephemeral.decrypt(cipher, 'rsaes'),
    );
    if (vary.keep === true) {
      await findings.session?.ephemeral.close();
      findings.session = { token, ephemeral };
      kept = true;
    }
    return { ...answered, token };
  } finally {
    if (!kept) await ephemeral.close();
  }
}

/** The key that is certified, and the public area of one that is not. */
async function withForeignArea({ tpm }: Place, certified: EphemeralKey) {
  const other = await createEphemeralKey(tpm);
  const { publicArea } = other;
  await other.close();
  return { publicArea, certifyInfo: certified.certifyInfo, certifySignature: certified.certifySignature };
}

/** In the launch measurement: a field that a service cannot know the right value of, but that is signed. */
function flipOneBit(report: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(report);
  copy[SIGNED_BYTE] = (copy[SIGNED_BYTE] ?? 0) ^ 1;
  return copy;
}
const SIGNED_BYTE = 0x90;

/** Reading it takes a role that a trainer has not: the refusal is kept, the hash in the tokens is what counts. */
async function readPolicy(place: Place): Promise<Outcome> {
  const token = await given(place, 'credential').getToken('https://attest.azure.net/.default');
  const url = `${given(place, 'authority')}/policies/AzureGuest?api-version=${API_VERSION}`;
  const content = await exchange(place.network, 'attestation policy', { method: 'GET', url }, token?.token);
  return { content, status: content.answer.status, text: refusalText(content) };
}
