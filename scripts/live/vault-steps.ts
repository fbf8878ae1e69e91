import { randomBytes } from 'node:crypto';
import type { TokenCredential } from '@azure/core-auth';
import { asObject } from '../../runtime/attestation/jws.ts';
import { TRANSFER_KID } from '../../runtime/attestation/token.ts';
import { fromBase64, toBase64Url } from '../../runtime/crypto/bytes.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { openRelease } from '../../runtime/keys/release.ts';
import { decodeReleasePolicy, policyDigest } from '../../runtime/keys/release-policy.ts';
import { type ExpectedKey, parseReleaseReply, RELEASE_ALGORITHM } from '../../runtime/keys/release-reply.ts';
import { type Exchange, exchange, refusalText } from './exchange.ts';
import { found, given, type KeyVersion, type Outcome, type Place, type Step } from './step.ts';

/** The one that @azure/keyvault-keys 4.10 speaks. */
const API_VERSION = '7.6';
/** First that documents `securewrapkey` (Azure/azure-rest-api-specs, keyvault data plane, Keys). */
const SECURE_WRAP_API_VERSION = '2026-01-01-preview';
const SCOPE = 'https://vault.azure.net/.default';
const TOKEN_STEP = 'attest-as-microsoft';
const NEEDED = ['vaultHost', 'key', 'credential', 'authority'] as const;
/** The later of the two tokens is the one of the trainer's own kind of key. */
const TOKEN_FIRST = ['attest-random-unique'];

interface Asking {
  readonly key: KeyVersion;
  /** @default the identity that may release */
  readonly credential?: TokenCredential;
  /** @default the one of this capture */
  readonly token?: string;
}

/** What the vault answers. The released key is opened in the vTPM, compared, and dropped: no file has it. */
export const VAULT_STEPS: readonly Step[] = [
  {
    name: 'key',
    questions: ['K1'],
    does: 'reads the key as the vault describes it, key_ops and policy',
    file: 'key.json',
    inputs: ['vaultHost', 'key', 'credential'],
    run: readKey,
  },
  {
    name: 'release',
    questions: ['K1', 'K2'],
    does: 'asks for the key with a nonce and opens it in the vTPM',
    file: 'release.json',
    inputs: NEEDED,
    needs: [...TOKEN_FIRST, 'key'],
    run: async (place) => released(await askAndOpen(place, given(place, 'key'))),
  },
  asking('release-altered-token', ['K3'], 'asks with a token whose signature is altered', [], (place) => ({
    key: given(place, 'key'),
    token: alterSignature(found(place.findings.session, TOKEN_STEP).token),
  })),
  asking('release-no-role', ['K3'], 'asks as an identity without a role', ['credentialWithoutRole'], (place) => ({
    key: given(place, 'key'),
    credential: given(place, 'credentialWithoutRole'),
  })),
  asking('release-wrong-policy', ['K3'], 'asks for a key whose policy is not met', ['keyOfAnotherPolicy'], (place) => ({
    key: given(place, 'keyOfAnotherPolicy'),
  })),
  asking('release-expired-token', ['K3', 'K9'], 'asks with an expired token', ['expiredToken'], (place) => ({
    key: given(place, 'key'),
    token: given(place, 'expiredToken'),
  })),
  asking('release-disabled-key', ['K3', 'K8'], 'asks for a disabled key', ['disabledKey'], (place) => ({
    key: given(place, 'disabledKey'),
  })),
  asking('release-expired-key', ['K8'], 'asks for an expired key', ['expiredKey'], (place) => ({
    key: given(place, 'expiredKey'),
  })),
  {
    name: 'secure-unwrap',
    questions: ['K10'],
    does: 'calls secureunwrapkey with random bytes: the refusal says whether it is there',
    file: 'secure-unwrap.json',
    inputs: NEEDED,
    needs: TOKEN_FIRST,
    run: async (place) => {
      const path = `${keyPath(given(place, 'key'))}/secureunwrapkey`;
      const target = found(place.findings.session, TOKEN_STEP).token;
      const body = { alg: 'RSA-OAEP-256', value: toBase64Url(randomBytes(384)), target };
      return answered(await call(place, 'POST', path, { body, apiVersion: SECURE_WRAP_API_VERSION }));
    },
  },
  {
    name: 'rotate',
    questions: ['K4'],
    does: 'rotates the key: its answer is the new version',
    file: 'rotate.json',
    inputs: ['vaultHost', 'key', 'credential', 'changeKeys'],
    // Last but one, so that every other step meets the key as it was prepared.
    run: async (place) => answered(await call(place, 'POST', `/keys/${given(place, 'key').name}/rotate`)),
  },
  {
    name: 'symmetric-key',
    questions: ['K7'],
    does: 'makes an exportable oct-HSM key with the policy of the key, and asks for it',
    file: 'symmetric-key.json',
    inputs: [...NEEDED, 'changeKeys'],
    needs: [...TOKEN_FIRST, 'key'],
    run: makeSymmetricKey,
  },
];

/** What a reply is measured against: the key as the vault describes it, else as the reply itself does. */
export function expectedKey(
  vaultHost: string,
  key: KeyVersion,
  bundle: Readonly<Record<string, unknown>> | undefined,
  reply: string,
): ExpectedKey {
  const parsed = parseReleaseReply(reply);
  const described = bundle === undefined ? parsed.key : asObject(bundle.key, 'key');
  const policy =
    bundle === undefined ? parsed.policy : fromBase64(String(asObject(bundle.release_policy, 'release_policy').data));
  return {
    vaultHost,
    keyName: key.name,
    keyVersion: key.version,
    key: { kty: 'RSA', n: String(described.n), e: String(described.e) },
    policySha256: policyDigest(decodeReleasePolicy(policy)),
  };
}

function asking(
  name: string,
  questions: Step['questions'],
  does: string,
  inputs: NonNullable<Step['inputs']>,
  how: (place: Place) => Asking,
): Step {
  return {
    name,
    questions,
    does,
    file: `${name}.json`,
    inputs: [...NEEDED, ...inputs],
    needs: TOKEN_FIRST,
    run: async (place) => answered((await ask(place, how(place))).content),
  };
}

async function readKey(place: Place): Promise<Outcome> {
  const content = await call(place, 'GET', keyPath(given(place, 'key')));
  if (content.answer.status !== 200) return { ...answered(content), unsettled: true };
  const bundle = asObject(JSON.parse(content.answer.body), 'key');
  place.findings.keyBundle = bundle;
  const { key_ops } = asObject(bundle.key, 'key');
  // Only a key that may do nothing else answers the question of release.
  const operations = Array.isArray(key_ops) ? key_ops.join(', ') : 'none';
  return { content, status: 200, text: `key_ops ${operations}`, unsettled: operations !== 'wrapKey' };
}

async function ask(place: Place, { key, credential, token }: Asking): Promise<{ content: Exchange; nonce: string }> {
  const target = token ?? found(place.findings.session, TOKEN_STEP).token;
  const nonce = toBase64Url(randomBytes(32));
  const body = { target, nonce, enc: RELEASE_ALGORITHM };
  const as = credential === undefined ? {} : { credential };
  return { content: await call(place, 'POST', `${keyPath(key)}/release`, { body, ...as }), nonce };
}

async function askAndOpen(place: Place, key: KeyVersion): Promise<Exchange> {
  const { content, nonce } = await ask(place, { key });
  if (content.answer.status !== 200) return content;
  const { ephemeral } = found(place.findings.session, TOKEN_STEP);
  const reply = String(asObject(JSON.parse(content.answer.body), 'release').value);
  try {
    const { nonceEchoed } = await openRelease(reply, {
      expected: expectedKey(given(place, 'vaultHost'), key, place.findings.keyBundle, reply),
      transferKid: TRANSFER_KID,
      nonce,
      trust: place.trust,
      at: place.now(),
      decrypt: (cipher) => ephemeral.decrypt(cipher, 'oaep-sha256'),
    });
    return { ...content, opened: { nonceEchoed } };
  } catch (error) {
    if (!(error instanceof SecureTrainingError)) throw error;
    return { ...content, opened: { failures: error.failures.length > 0 ? error.failures : [error.message] } };
  }
}

async function makeSymmetricKey(place: Place): Promise<Outcome> {
  const { name } = given(place, 'key');
  const { release_policy } = found(place.findings.keyBundle, 'key');
  const body = { kty: 'oct-HSM', key_size: 256, attributes: { exportable: true }, release_policy };
  const made = await call(place, 'POST', `/keys/${name}-symmetric/create`, { body });
  if (made.answer.status !== 200) return answered(made);
  const { kid } = asObject(asObject(JSON.parse(made.answer.body), 'key').key, 'key');
  const version = String(kid).split('/').at(-1) ?? '';
  const { content } = await ask(place, { key: { name: `${name}-symmetric`, version } });
  return { ...answered(content), content: { made, asked: content } };
}

async function call(
  place: Place,
  method: 'GET' | 'POST',
  path: string,
  more: { readonly body?: object; readonly credential?: TokenCredential; readonly apiVersion?: string } = {},
): Promise<Exchange> {
  const bearer = await (more.credential ?? given(place, 'credential')).getToken(SCOPE);
  const url = `https://${given(place, 'vaultHost')}${path}?api-version=${more.apiVersion ?? API_VERSION}`;
  const body = more.body === undefined ? {} : { body: more.body };
  return exchange(place.network, 'vault', { method, url, ...body }, bearer?.token);
}

/** 401 says that the caller is nobody, which answers no question about keys. */
function answered(content: Exchange): Outcome {
  const { status } = content.answer;
  return { content, status, text: refusalText(content), unsettled: status === 401 };
}

function released(content: Exchange): Outcome {
  const { opened } = content;
  if (opened === undefined) return answered(content);
  if ('failures' in opened) {
    const text = `the reply does not hold: not (${opened.failures.join('; ')})`;
    return { ...answered(content), text, unsettled: true };
  }
  return { ...answered(content), text: `opened; the nonce is ${opened.nonceEchoed ? '' : 'not '}echoed` };
}

function keyPath({ name, version }: KeyVersion): string {
  return `/keys/${name}/${version}`;
}

function alterSignature(token: string): string {
  return token.slice(0, -6) + (token.endsWith('AAAAAA') ? 'BBBBBB' : 'AAAAAA');
}
