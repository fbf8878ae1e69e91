import { toBase64Url, utf8 } from '../runtime/crypto/bytes.ts';
import type { ReleasePolicy } from '../runtime/keys/release-policy.ts';
import { publicJwkOf, type VaultKey, type VaultKeyVersion } from './vault-state.ts';

/** JSON shapes of Key Vault's keys, as recorded from the service (azure-sdk-for-js recordings; key-vault facts 3.3 and 3.4). */
export function keyBundle(host: string, key: VaultKey, version: VaultKeyVersion): Record<string, unknown> {
  const { n, e } = publicJwkOf(version);
  return {
    key: { kid: keyId(host, key.name, version.version), kty: 'RSA-HSM', key_ops: version.keyOps, n, e },
    attributes: {
      enabled: version.enabled,
      ...(version.notBefore === undefined ? {} : { nbf: version.notBefore }),
      ...(version.expires === undefined ? {} : { exp: version.expires }),
      created: version.created,
      updated: version.updated,
      recoveryLevel: 'Recoverable',
      recoverableDays: 90,
      exportable: key.exportable,
    },
    tags: key.tags,
    ...(key.releasePolicy === undefined ? {} : { release_policy: policyBundle(key.releasePolicy) }),
  };
}

/** `https://HOST/keys/NAME[/VERSION]`. */
export function keyId(host: string, name: string, version?: string): string {
  return `https://${host}/keys/${name}${version === undefined ? '' : `/${version}`}`;
}

function policyBundle(releasePolicy: NonNullable<VaultKey['releasePolicy']>): object {
  const { contentType, immutable, policy } = releasePolicy;
  return { contentType, data: toBase64Url(utf8(rewritten(policy))), immutable };
}

/** A vault does not give back the bytes it was given: members get its order, booleans have become text by parsing. */
function rewritten(policy: ReleasePolicy): string {
  return JSON.stringify(policy);
}
