import { constants, createPublicKey, privateDecrypt, publicEncrypt } from 'node:crypto';
import { fromBase64, toBase64Url } from '../runtime/crypto/bytes.ts';
import { asFailure, HttpFailure, type JsonRequest, jsonHandler, type RequestHandler } from './json-http.ts';
import type { SigningIdentity } from './signing-identity.ts';
import { keyBundle, keyId } from './vault-bundle.ts';
import { createKey, updateKey } from './vault-keys.ts';
import { DEFAULT_RELEASE_ALGORITHM, releaseKey, type TokenIssuers } from './vault-release.ts';
import { privateKeyOf, type VaultKey, type VaultKeyVersion, type VaultState } from './vault-state.ts';

/** What a role assignment is about. */
export type VaultAction = 'get' | 'create' | 'update' | 'wrap' | 'unwrap' | 'release';

export interface VaultServiceOptions {
  /** For example `kv-owner.vault.azure.net`. */
  readonly host: string;
  readonly tenantId: string;
  readonly state: VaultState;
  /** JWKS of a token issuer; asked only for issuers that a key's policy names. */
  readonly tokenIssuers: TokenIssuers;
  /** Who a bearer token speaks for, if it is one for vaults. */
  readonly authenticate: (bearer: string) => { readonly principalId: string } | undefined;
  readonly authorise: (principalId: string, action: VaultAction, keyName: string) => boolean;
  /** Signs release replies. */
  readonly signer: SigningIdentity;
  /** @default the system's clock */
  readonly clock?: () => Date;
  /**
   * Whether replies carry the nonce: not known of live vaults, so both can be tried.
   * @default true
   */
  readonly echoNonce?: boolean;
}

/** A request for a key, of somebody who may ask. */
interface Operation {
  readonly request: JsonRequest;
  readonly name: string;
  readonly version: string | undefined;
  readonly options: VaultServiceOptions;
  readonly now: Date;
}

interface Route {
  readonly action: VaultAction;
  readonly run: (operation: Operation) => object | Promise<object>;
}

/** By method and the word after the key's name and version. */
const ROUTES: Readonly<Record<string, Route>> = {
  'GET ': { action: 'get', run: getKey },
  'GET versions': { action: 'get', run: listVersions },
  'POST create': { action: 'create', run: create },
  'PATCH ': { action: 'update', run: update },
  'POST wrapkey': { action: 'wrap', run: wrap },
  'POST unwrapkey': { action: 'unwrap', run: unwrap },
  'POST release': { action: 'release', run: release },
};
const OPERATIONS = ['create', 'versions', 'wrapkey', 'unwrapkey', 'release'];
const PADDINGS: Readonly<Record<string, { padding: number; oaepHash?: string }>> = {
  'RSA-OAEP-256': { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' },
  'RSA-OAEP': { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha1' },
};

/** Key Vault, Premium, its key operations that this project's parties use: every one asks for a token and for a role. */
export function vaultService(options: VaultServiceOptions): RequestHandler {
  return jsonHandler(async (request) => {
    const bearer = /^Bearer (.+)$/i.exec(request.authorization ?? '')?.[1];
    const caller = bearer === undefined ? undefined : options.authenticate(bearer);
    if (caller === undefined) throw challenge(options.tenantId);
    const [, root = '', name = '', ...rest] = request.path.split('/');
    const operation = OPERATIONS.includes(rest.at(-1) ?? '') ? (rest.pop() ?? '') : '';
    const route = ROUTES[`${request.method} ${operation}`];
    if (root !== 'keys' || !/^[0-9A-Za-z-]{1,127}$/.test(name) || rest.length > 1 || route === undefined) {
      throw new HttpFailure(404, 'NotFound', `No operation ${request.method} ${request.path}`);
    }
    if (!request.query.has('api-version')) throw new HttpFailure(400, 'BadParameter', 'api-version must be specified.');
    if (!options.authorise(caller.principalId, route.action, name))
      throw notAuthorised(caller.principalId, route.action);
    // SDKs leave the place of a version that is not named empty: `keys/NAME//release`.
    const version = rest[0] === '' ? undefined : rest[0];
    return route.run({ request, name, version, options, now: options.clock?.() ?? new Date() });
  });
}

function getKey({ name, version, options }: Operation): object {
  const found = find(options.state, name, version);
  return keyBundle(options.host, found.key, found.version);
}

function listVersions({ name, options }: Operation): object {
  const { key } = find(options.state, name);
  const value = key.versions.map((version) => {
    const { attributes, tags } = keyBundle(options.host, key, version);
    return { kid: keyId(options.host, name, version.version), attributes, tags };
  });
  return { value, nextLink: null };
}

async function create({ request, name, version, options, now }: Operation): Promise<object> {
  if (version !== undefined) throw new HttpFailure(404, 'NotFound', 'a version cannot be created');
  const key = await createKey(options.state, name, request.json(), now);
  return keyBundle(options.host, key, latest(key));
}

function update({ request, name, version, options, now }: Operation): object {
  const found = find(options.state, name, version);
  const key = updateKey(found.key, found.version, { body: request.json(), versioned: version !== undefined, now });
  options.state.put(key);
  const changed = key.versions.find((candidate) => candidate.version === found.version.version) ?? latest(key);
  return keyBundle(options.host, key, changed);
}

function wrap({ request, name, version, options, now }: Operation): object {
  const found = usable(find(options.state, name, version), 'wrapKey', now);
  const { padding, value } = cipherInput(request);
  const wrapped = publicEncrypt({ key: createPublicKey(privateKeyOf(found)), ...padding }, value);
  return { kid: keyId(options.host, name, found.version), value: toBase64Url(wrapped) };
}

function unwrap({ request, name, version, options, now }: Operation): object {
  const found = usable(find(options.state, name, version), 'unwrapKey', now);
  const { padding, value } = cipherInput(request);
  try {
    const opened = privateDecrypt({ key: privateKeyOf(found), ...padding }, value);
    return { kid: keyId(options.host, name, found.version), value: toBase64Url(opened) };
  } catch {
    throw new HttpFailure(400, 'BadParameter', 'The parameter is incorrect.');
  }
}

function release({ request, name, version, options, now }: Operation): Promise<object> {
  const found = find(options.state, name, version);
  // Neither key_ops nor expiry stand in the way of a release; disabling does.
  requireEnabled(found.version, 'release');
  const { target, nonce, enc } = request.json();
  if (typeof target !== 'string' || target === '')
    throw new HttpFailure(400, 'BadParameter', 'Property target is missing.');
  return releaseKey({
    host: options.host,
    ...found,
    askedVersion: version,
    apiVersion: request.query.get('api-version') ?? '',
    target,
    ...(typeof nonce === 'string' ? { nonce } : {}),
    algorithm: typeof enc === 'string' ? enc : DEFAULT_RELEASE_ALGORITHM,
    signer: options.signer,
    tokenIssuers: options.tokenIssuers,
    now,
    echoNonce: options.echoNonce ?? true,
  });
}

function find(state: VaultState, name: string, version?: string): { key: VaultKey; version: VaultKeyVersion } {
  const key = state.get(name);
  const found = version === undefined ? key?.versions.at(-1) : key?.versions.find((one) => one.version === version);
  if (key !== undefined && found !== undefined) return { key, version: found };
  const asked = version === undefined ? name : `${name}/${version}`;
  throw new HttpFailure(404, 'KeyNotFound', `A key with (name/id) ${asked} was not found in this key vault.`);
}

function latest(key: VaultKey): VaultKeyVersion {
  const version = key.versions.at(-1);
  if (version === undefined) throw new RangeError(`key ${key.name} has no version`);
  return version;
}

/** Key states of the service's documentation: key_ops always count; expiry ends wrapping, never unwrapping. */
function usable(
  { version }: { version: VaultKeyVersion },
  operation: 'wrapKey' | 'unwrapKey',
  now: Date,
): VaultKeyVersion {
  requireEnabled(version, operation);
  if (!version.keyOps.includes(operation)) {
    throw new HttpFailure(403, 'Forbidden', `Operation ${operation} is not permitted on this key.`, {
      innerCode: 'KeyOperationForbidden',
    });
  }
  const seconds = now.getTime() / 1000;
  const current = (version.notBefore ?? 0) <= seconds && seconds < (version.expires ?? Number.POSITIVE_INFINITY);
  if (operation === 'wrapKey' && !current) {
    const innerCode = seconds < (version.notBefore ?? 0) ? 'KeyNotYetValid' : 'KeyExpired';
    throw new HttpFailure(
      403,
      'Forbidden',
      `Operation ${operation} is not allowed on an expired or not yet valid key.`,
      { innerCode },
    );
  }
  return version;
}

function requireEnabled({ enabled }: VaultKeyVersion, operation: string): void {
  if (enabled) return;
  throw new HttpFailure(403, 'Forbidden', `Operation ${operation} is not allowed on a disabled key.`, {
    innerCode: 'KeyDisabled',
  });
}

function cipherInput(request: JsonRequest): { padding: { padding: number; oaepHash?: string }; value: Uint8Array } {
  const { alg, value } = request.json();
  const padding = PADDINGS[String(alg)];
  if (padding === undefined) throw new HttpFailure(400, 'BadParameter', `Algorithm ${String(alg)} is not supported.`);
  if (typeof value !== 'string') throw new HttpFailure(400, 'BadParameter', 'Property value is missing.');
  return { padding, value: asFailure(400, 'BadParameter', () => fromBase64(value, 'value')) };
}

function challenge(tenantId: string): HttpFailure {
  const value = `Bearer authorization="https://login.microsoftonline.com/${tenantId}", resource="https://vault.azure.net"`;
  return new HttpFailure(401, 'Unauthorized', 'AKV10000: Request is missing a Bearer or PoP token.', {
    headers: { 'www-authenticate': value },
  });
}

function notAuthorised(principalId: string, action: VaultAction): HttpFailure {
  const message = `Caller is not authorized to perform action on resource. Caller: oid=${principalId}; action: keys/${action}`;
  return new HttpFailure(403, 'Forbidden', message, { innerCode: 'ForbiddenByRbac' });
}
