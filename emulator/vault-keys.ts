import { randomBytes } from 'node:crypto';
import { fromBase64 } from '../runtime/crypto/bytes.ts';
import { decodeReleasePolicy, samePolicy } from '../runtime/keys/release-policy.ts';
import { asFailure, HttpFailure } from './json-http.ts';
import { generateVaultKey, type VaultKey, type VaultKeyVersion, type VaultState } from './vault-state.ts';

type Body = Readonly<Record<string, unknown>>;

/** The service's defaults when a request names none: they include unwrapKey, which would bypass attestation. */
const DEFAULT_KEY_OPS = ['encrypt', 'decrypt', 'sign', 'verify', 'wrapKey', 'unwrapKey'];
const KEY_OPS = [...DEFAULT_KEY_OPS, 'import', 'export'];
const KEY_SIZES = [2048, 3072, 4096];
const CONTENT_TYPE = 'application/json; charset=utf-8';

/** `POST /keys/NAME/create`: a new key, or a new version of one. Rules and texts: the service's AKV.SKR errors. */
export async function createKey(state: VaultState, name: string, body: Body, now: Date): Promise<VaultKey> {
  const attributes = object(body.attributes, 'attributes');
  const exportable = attributes.exportable === true;
  if (body.kty !== 'RSA-HSM' && exportable) throw bad('AKV.SKR.1006: Exportable software keys are not supported.');
  if (body.kty !== 'RSA-HSM') throw bad(`Key type ${String(body.kty)} is not supported here, wanted RSA-HSM.`);
  const size = body.key_size ?? 2048;
  if (!KEY_SIZES.includes(Number(size))) throw bad(`Key size ${String(size)} is not supported.`);
  const keyOps = keyOperations(body.key_ops) ?? DEFAULT_KEY_OPS;
  const releasePolicy = readPolicy(body.release_policy);
  if (exportable && releasePolicy === undefined) throw bad('AKV.SKR.1004: Exportable keys must have release policy.');
  if (!exportable && releasePolicy !== undefined)
    throw bad('AKV.SKR.1005: Non-exportable keys must not have release policy.');
  const privateKey = await generateVaultKey(Number(size));
  // Read after the wait: another request may have made a version meanwhile.
  const existing = state.get(name);
  if (existing !== undefined && existing.exportable !== exportable) {
    throw bad('AKV.SKR.1014: Cannot modify the exportable state of a key.');
  }
  refuseImmutableChange(existing, releasePolicy);
  const seconds = Math.floor(now.getTime() / 1000);
  const version: VaultKeyVersion = {
    version: randomBytes(16).toString('hex'),
    privateKey,
    keyOps,
    enabled: attributes.enabled !== false,
    created: seconds,
    updated: seconds,
    ...times(attributes),
  };
  const key: VaultKey = {
    name,
    exportable,
    ...(releasePolicy === undefined ? {} : { releasePolicy }),
    tags: tagsOf(body.tags) ?? existing?.tags ?? {},
    versions: [...(existing?.versions ?? []), version],
  };
  state.put(key);
  return key;
}

/** `PATCH /keys/NAME[/VERSION]`. The policy belongs to the key and, once immutable, to nobody. */
export function updateKey(
  key: VaultKey,
  version: VaultKeyVersion,
  { body, versioned, now }: { readonly body: Body; readonly versioned: boolean; readonly now: Date },
): VaultKey {
  const attributes = object(body.attributes, 'attributes');
  if (attributes.exportable !== undefined && attributes.exportable !== key.exportable) {
    throw bad('AKV.SKR.1003: The exportable attribute of an existing key cannot be changed.');
  }
  const releasePolicy = readPolicy(body.release_policy);
  if (releasePolicy !== undefined && versioned) {
    throw bad('AKV.SKR.1016: Key Release Policy can only be set on versionless key.');
  }
  if (releasePolicy !== undefined && !key.exportable)
    throw bad('AKV.SKR.1005: Non-exportable keys must not have release policy.');
  refuseImmutableChange(key, releasePolicy);
  const changed: VaultKeyVersion = {
    ...version,
    keyOps: keyOperations(body.key_ops) ?? version.keyOps,
    enabled: typeof attributes.enabled === 'boolean' ? attributes.enabled : version.enabled,
    updated: Math.floor(now.getTime() / 1000),
    ...times(attributes),
  };
  return {
    ...key,
    ...(releasePolicy === undefined ? {} : { releasePolicy }),
    tags: tagsOf(body.tags) ?? key.tags,
    versions: key.versions.map((one) => (one.version === version.version ? changed : one)),
  };
}

function refuseImmutableChange(key: VaultKey | undefined, wanted: VaultKey['releasePolicy']): void {
  const current = key?.releasePolicy;
  if (wanted === undefined || current?.immutable !== true) return;
  if (wanted.immutable && samePolicy(wanted.policy, current.policy)) return;
  throw bad('AKV.SKR.1020: Immutable Key Release Policy cannot be modified.');
}

function readPolicy(value: unknown): VaultKey['releasePolicy'] {
  if (value === undefined || value === null) return undefined;
  const { data, contentType, immutable } = object(value, 'release_policy');
  if (typeof data !== 'string') throw bad('Property release_policy.data is missing.');
  const policy = asFailure(400, 'BadParameter', () => decodeReleasePolicy(fromBase64(data, 'release_policy.data')));
  return {
    policy,
    contentType: typeof contentType === 'string' ? contentType : CONTENT_TYPE,
    immutable: immutable === true,
  };
}

function keyOperations(value: unknown): readonly string[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value) || !value.every((item) => KEY_OPS.includes(item)))
    throw bad('Property key_ops is invalid.');
  return value as string[];
}

function times(attributes: Body): Pick<VaultKeyVersion, 'notBefore' | 'expires'> {
  return {
    ...(typeof attributes.nbf === 'number' ? { notBefore: attributes.nbf } : {}),
    ...(typeof attributes.exp === 'number' ? { expires: attributes.exp } : {}),
  };
}

function tagsOf(value: unknown): Readonly<Record<string, string>> | undefined {
  if (value === undefined || value === null) return undefined;
  return Object.fromEntries(Object.entries(object(value, 'tags')).map(([name, text]) => [name, String(text)]));
}

function object(value: unknown, name: string): Body {
  if (value === undefined || value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value)) throw bad(`Property ${name} is not an object.`);
  return value as Body;
}

function bad(message: string): HttpFailure {
  return new HttpFailure(400, 'BadParameter', message);
}
