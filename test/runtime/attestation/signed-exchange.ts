import { createPrivateKey, sign } from 'node:crypto';
import { signingKeys } from '../../../emulator/attestation-service.ts';
import { signToken } from '../../../emulator/guest-token.ts';
import { createTokenSigner, createVaultSigner, rootFingerprint } from '../../../emulator/service-pki.ts';
import type { SigningIdentity } from '../../../emulator/signing-identity.ts';
import { releaseKey } from '../../../emulator/vault-release.ts';
import { parseCompactJws } from '../../../runtime/attestation/jws.ts';
import {
  type AttestationToken,
  type TokenExpectations,
  TRANSFER_KID,
  verifyToken,
} from '../../../runtime/attestation/token.ts';
import { fromBase64, toBase64, toBase64Url, utf8 } from '../../../runtime/crypto/bytes.ts';
import {
  ATTESTATION_POLICY,
  attestationPolicyHash,
  buildReleasePolicy,
  policyDigest,
  type ReleasePolicy,
} from '../../../runtime/keys/release-policy.ts';
import type { ReplyExpectations } from '../../../runtime/keys/release-reply.ts';
import { type Machine, VM_ID } from './machine.ts';

const AUTHORITY = 'https://maowner.neu.attest.azure.net';
export const VAULT_HOST = 'kv-owner.vault.azure.net';
const NOW = new Date('2026-11-23T12:00:00Z');
const SECONDS = NOW.getTime() / 1000;
const KEY = { name: 'training-key-1a2b3c4d', version: '0'.repeat(32) };

/** What the services of an owner sign for a machine, whose EK stands for its ephemeral key and whose AK for the owner's key. */
export interface SignedExchange {
  readonly claims: Readonly<Record<string, unknown>>;
  readonly jwt: string;
  readonly tokenExpectations: TokenExpectations;
  readonly token: AttestationToken;
  /** Signs any text as a token's payload, JSON or not. */
  readonly signToken: (payload: string) => string;
  readonly policy: ReleasePolicy;
  readonly reply: string;
  readonly replyExpectations: ReplyExpectations;
  readonly signReply: (header: string, payload: string) => string;
}

export async function createExchange(machine: Machine): Promise<SignedExchange> {
  const [tokenSigner, vaultSigner] = [createTokenSigner(AUTHORITY, NOW), createVaultSigner(VAULT_HOST, NOW)];
  const claims = claimsOf(machine);
  const jwt = signToken(claims, tokenSigner, AUTHORITY);
  const tokenExpectations: TokenExpectations = {
    authority: AUTHORITY,
    certificates: signingKeys(tokenSigner),
    nonce: 'n',
    ephemeralModulus: fromBase64(machine.ekKey.n),
    vmId: VM_ID,
    now: NOW,
  };
  const policy = buildReleasePolicy({ authority: AUTHORITY, vmIds: [VM_ID] });
  const version = {
    version: KEY.version,
    privateKey: machine.ak.export({ type: 'pkcs8', format: 'pem' }).toString(),
    keyOps: ['wrapKey'],
    enabled: true,
    created: SECONDS,
    updated: SECONDS,
  };
  const releasePolicy = { policy, contentType: 'application/json', immutable: true };
  const { value: reply } = await releaseKey({
    host: VAULT_HOST,
    key: { name: KEY.name, exportable: true, releasePolicy, tags: {}, versions: [version] },
    version,
    askedVersion: KEY.version,
    apiVersion: '7.4',
    target: jwt,
    nonce: 'n1',
    algorithm: 'RSA_AES_KEY_WRAP_256',
    signer: vaultSigner,
    tokenIssuers: () => tokenExpectations.certificates,
    now: NOW,
    echoNonce: true,
  });
  return {
    claims,
    jwt,
    tokenExpectations,
    token: verifyToken(jwt, tokenExpectations),
    signToken: (payload) => signJws(JSON.stringify(partsOf(jwt).header), payload, tokenSigner),
    policy,
    reply,
    replyExpectations: {
      expected: {
        vaultHost: VAULT_HOST,
        keyName: KEY.name,
        keyVersion: KEY.version,
        key: machine.akKey,
        policySha256: policyDigest(policy),
      },
      transferKid: TRANSFER_KID,
      nonce: 'n1',
      vaultRoots: [rootFingerprint(vaultSigner)],
      at: NOW,
    },
    signReply: (header, payload) => signJws(header, payload, vaultSigner),
  };
}

/** Header and payload of a compact JWS. */
export function partsOf(text: string): { readonly header: object; readonly payload: object } {
  const { header, payload } = parseCompactJws(text, 'jws');
  return { header, payload };
}

function claimsOf(machine: Machine): Readonly<Record<string, unknown>> {
  return {
    iss: AUTHORITY,
    iat: SECONDS,
    nbf: SECONDS,
    exp: SECONDS + 28_800,
    secureboot: true,
    'x-ms-attestation-type': 'azurevm',
    'x-ms-azurevm-vmid': VM_ID.toUpperCase(),
    'x-ms-policy-hash': attestationPolicyHash(ATTESTATION_POLICY),
    'x-ms-isolation-tee': {
      'x-ms-attestation-type': 'sevsnpvm',
      'x-ms-compliance-status': 'azure-compliant-cvm',
      'x-ms-sevsnpvm-is-debuggable': false,
      'x-ms-sevsnpvm-migration-allowed': false,
    },
    'x-ms-runtime': {
      'client-payload': { nonce: toBase64(utf8('n')) },
      keys: [{ kid: TRANSFER_KID, key_ops: ['encrypt'], ...machine.ekKey }],
    },
  };
}

function signJws(header: string, payload: string, signer: SigningIdentity): string {
  const signed = [header, payload].map((part) => toBase64Url(utf8(part))).join('.');
  return `${signed}.${toBase64Url(sign('sha256', utf8(signed), createPrivateKey(signer.privateKey)))}`;
}
