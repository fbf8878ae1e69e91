/**
 * What an owner's vault demands of a machine before it releases a key: built, read, compared and evaluated here, so that
 * the words mean the same to infrastructure, owner, trainer and emulator. Pure.
 * Imported by constructs and stacks as well as by runtime, scripts and emulator; itself imports only errors and catalogue.
 * Grammar: Key Vault "management policy grammar" 1.0.0, https://learn.microsoft.com/azure/key-vault/keys/policy-grammar
 */
import { createHash } from 'node:crypto';
import type { EnvironmentPolicy } from '../catalogue.ts';
import { SecureTrainingError } from '../errors.ts';

/** One fact about a token. Dots in `claim` walk into objects; lists cannot be reached. */
interface ClaimCondition {
  readonly claim: string;
  /** Booleans and numbers are compared as text: the service stores `true` as `"true"`. */
  readonly equals: string;
}

type ConditionGroup = { readonly allOf: readonly PolicyCondition[] } | { readonly anyOf: readonly PolicyCondition[] };
type PolicyCondition = ClaimCondition | ConditionGroup;
/** One accepted issuer of tokens and what its tokens must say. */
type PolicyAuthority = { readonly authority: string } & ConditionGroup;

export interface ReleasePolicy {
  readonly version: '1.0.0';
  readonly anyOf: readonly PolicyAuthority[];
}

export interface ReleasePolicyOptions {
  /** Issuer of the owner's own attestation provider, exactly as tokens have it in `iss` (no slash at the end). */
  readonly authority: string;
  /**
   * The provider's `x-ms-policy-hash` for type AzureGuest. A wrong one keeps the key closed for ever, never open.
   * @default - the hash of {@link ATTESTATION_POLICY}, which the provider must then serve
   */
  readonly policyHash?: string;
  /**
   * Ids of the virtual machines that may have the key, where the fleet is fixed.
   * @default 'any'
   */
  readonly vmIds?: EnvironmentPolicy['vmIds'];
  /**
   * A shared provider gives tokens to everybody's machines and keeps no log for you: only the caller's role is left.
   * @default false
   */
  readonly allowSharedAuthorityWhereAnybodysMachinePasses?: boolean;
}

/** One condition, what the token had there, and whether that met it. */
export interface ClauseResult {
  readonly clause: string;
  readonly found: string;
  readonly met: boolean;
}

/** The AzureGuest policy an owner's attestation provider serves; its hash is what release policies demand by default. */
export const ATTESTATION_POLICY = `version=1.0;
authorizationrules
{
  [type=="secureboot", value==false] => deny();
  [type=="x-ms-azurevm-default-securebootkeysvalidated", value==false] => deny();
  [type=="x-ms-azurevm-debuggersdisabled", value==false] => deny();
  [type=="x-ms-azurevm-signingdisabled", value==false] => deny();
  [type=="x-ms-azurevm-dbvalidated", value==false] => deny();
  [type=="x-ms-azurevm-dbxvalidated", value==false] => deny();
  => permit();
};
issuancerules
{
};
`;

const TEE = 'x-ms-isolation-tee';
const POLICY_HASH = 'x-ms-policy-hash';
const VM_ID = 'x-ms-azurevm-vmid';

/** Demanded of every token, whatever the provider's own policy promises (claims of an AzureGuest token). */
const DEMANDED: readonly ClaimCondition[] = [
  { claim: 'x-ms-attestation-type', equals: 'azurevm' },
  { claim: 'secureboot', equals: 'true' },
  { claim: `${TEE}.x-ms-attestation-type`, equals: 'sevsnpvm' },
  { claim: `${TEE}.x-ms-compliance-status`, equals: 'azure-compliant-cvm' },
  { claim: `${TEE}.x-ms-sevsnpvm-is-debuggable`, equals: 'false' },
  { claim: `${TEE}.x-ms-sevsnpvm-migration-allowed`, equals: 'false' },
];

// The wrong dialect: tokens of confidential containers have these at top level; an in-guest token never does.
const CONTAINER_CLAIM = /^x-ms-(?:sevsnpvm-|compliance-status$|isolation-tee-)/;
const AUTHORITY = /^https:\/\/([a-z0-9-]+)(?:\.[a-z0-9-]+)+\.attest\.azure\.(?:net|us|cn)$/;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
// Bounds for what others hand over; the longest public policy has 26 authorities and nests twice.
const MAX_DEPTH = 8;
const MAX_MEMBERS = 1024;

/**
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` listing every rule that the options break
 */
export function buildReleasePolicy(options: ReleasePolicyOptions): ReleasePolicy {
  const vmIds = options.vmIds ?? 'any';
  const policyHash = options.policyHash ?? attestationPolicyHash(ATTESTATION_POLICY);
  if (!/^[A-Za-z0-9_-]{43}$/.test(policyHash)) throw invalid('policyHash: wanted 43 characters of base64url');
  if (vmIds !== 'any' && vmIds.length === 0)
    throw invalid('vmIds: an empty list lets no machine in; say "any" or name some');
  const wrong = vmIds === 'any' ? undefined : vmIds.find((id) => !UUID.test(id));
  if (wrong !== undefined) throw invalid(`vmIds: "${wrong}" is not the id of a virtual machine`);
  const allOf: PolicyCondition[] = [{ claim: POLICY_HASH, equals: policyHash }, ...DEMANDED];
  // Recorded tokens write the id in capitals, newer paravisors do not, and `equals` minds the difference.
  if (vmIds !== 'any') {
    const spellings = new Set(vmIds.flatMap((id) => [id.toUpperCase(), id.toLowerCase()]));
    allOf.push({ anyOf: [...spellings].map((equals) => ({ claim: VM_ID, equals })) });
  }
  const policy: ReleasePolicy = { version: '1.0.0', anyOf: [{ authority: options.authority, allOf }] };
  const problems = releasePolicyProblems(policy, options);
  if (problems.length > 0)
    throw new SecureTrainingError('CONFIG_INVALID', `release policy: ${problems.join('; ')}`, { failures: problems });
  return policy;
}

/** Why a policy is too weak, or can never be met, for release to a program inside a VM. Empty: nothing found. */
export function releasePolicyProblems(
  policy: ReleasePolicy,
  options: Pick<ReleasePolicyOptions, 'allowSharedAuthorityWhereAnybodysMachinePasses'> = {},
): string[] {
  return policy.anyOf.flatMap((entry) => {
    const host = AUTHORITY.exec(entry.authority)?.[1];
    const demanded = demands(entry);
    const problems = DEMANDED.filter((wanted) => demanded.get(wanted.claim) !== wanted.equals).map(
      (wanted) => `${wanted.claim} equals ${wanted.equals} is not demanded`,
    );
    if (!demanded.has(POLICY_HASH)) problems.push(`${POLICY_HASH} is not demanded`);
    for (const { claim } of conditionsOf(entry)) {
      if (CONTAINER_CLAIM.test(claim))
        problems.push(`${claim} is a claim of containers: in a VM it is ${TEE}.${claim}`);
    }
    if (host === undefined) {
      problems.push(
        `authority "${entry.authority}" is not https://NAME.REGION.attest.azure.net without a slash at the end`,
      );
    } else if (host.startsWith('shared') && options.allowSharedAuthorityWhereAnybodysMachinePasses !== true) {
      problems.push(`authority ${entry.authority} is shared: anybody's machine passes there`);
    }
    return problems;
  });
}

/**
 * Reads a policy as anybody wrote it: `equals` only, scalars become text, members get one order. That is also what the
 * service makes of it, so the result is what a vault returns.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` naming the member
 */
export function parseReleasePolicy(value: unknown): ReleasePolicy {
  const policy = members(value, 'policy', ['version', 'anyOf']);
  if (policy.version !== '1.0.0') throw invalid('policy.version: wanted "1.0.0"');
  const anyOf = list(policy.anyOf, 'policy.anyOf').map((item, i): PolicyAuthority => {
    const at = `policy.anyOf[${i}]`;
    const { authority, ...group } = members(item, at, ['authority', 'allOf', 'anyOf']);
    if (typeof authority !== 'string') throw invalid(`${at}.authority: wanted text`);
    return { authority, ...parseGroup(group, at, 0) };
  });
  return { version: '1.0.0', anyOf };
}

/** {@link parseReleasePolicy} for UTF-8 JSON, the form in which vaults hold a policy. */
export function decodeReleasePolicy(bytes: Uint8Array): ReleasePolicy {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', 'release policy is not JSON', { cause });
  }
  return parseReleasePolicy(value);
}

/** Stable bytes: two policies of one meaning have the same. They are a policy themselves and can be given to a vault. */
export function releasePolicyBytes(policy: ReleasePolicy): Uint8Array {
  const entries = parseReleasePolicy(policy).anyOf.map((entry) => {
    // Microsoft's own policies write authorities with and without the slash; tokens never do.
    return { authority: entry.authority.replace(/\/$/, ''), ...sortGroup(entry) };
  });
  return new TextEncoder().encode(JSON.stringify({ version: policy.version, anyOf: sorted(entries) }));
}

/** SHA-256 (hex) of {@link releasePolicyBytes}: what agreements pin. */
export function policyDigest(policy: ReleasePolicy): string {
  return createHash('sha256').update(releasePolicyBytes(policy)).digest('hex');
}

/** Whether two policies mean the same: order of members and conditions, and booleans written as text, do not count. */
export function samePolicy(a: ReleasePolicy, b: ReleasePolicy): boolean {
  return policyDigest(a) === policyDigest(b);
}

/** `training-key-1a2b3c4d`: the control plane creates keys and never updates them, so a new policy is a new key. */
export function policyKeyName(base: string, policy: ReleasePolicy): string {
  return `${base}-${policyDigest(policy).slice(0, 8)}`;
}

/** `x-ms-policy-hash` of a policy text: base64url(SHA-256(base64url(text))), Azure Attestation documentation. */
export function attestationPolicyHash(text: string): string {
  return createHash('sha256').update(Buffer.from(text).toString('base64url')).digest('base64url');
}

/** Says clause by clause whether a vault with this policy would release to a token with these (verified) claims. */
export function evaluateReleasePolicy(
  policy: ReleasePolicy,
  claims: Readonly<Record<string, unknown>>,
): { readonly allowed: boolean; readonly clauses: readonly ClauseResult[] } {
  const clauses: ClauseResult[] = [];
  const check = (clause: string, value: unknown, wanted: string, trim: (text: string) => string = String): boolean => {
    const text = scalarText(value);
    const met = text !== undefined && trim(text) === trim(wanted);
    clauses.push({ clause, found: text ?? (value === undefined ? 'nothing' : 'no single value'), met });
    return met;
  };
  const meets = (condition: PolicyCondition): boolean => {
    if ('claim' in condition) {
      return check(`${condition.claim} equals ${condition.equals}`, claimAt(claims, condition.claim), condition.equals);
    }
    // Every clause is evaluated, met or not: the list is what a person reads.
    const results = ('allOf' in condition ? condition.allOf : condition.anyOf).map(meets);
    return 'allOf' in condition ? results.every(Boolean) : results.some(Boolean);
  };
  const allowed = parseReleasePolicy(policy).anyOf.map((entry) => {
    const issuer = check(`authority equals ${entry.authority}`, claims.iss, entry.authority, (text) =>
      text.replace(/\/$/, ''),
    );
    return meets(entry) && issuer;
  });
  return { allowed: allowed.some(Boolean), clauses };
}

function parseGroup(group: Record<string, unknown>, at: string, depth: number): ConditionGroup {
  const [name, ...more] = Object.keys(group);
  if ((name !== 'allOf' && name !== 'anyOf') || more.length > 0) throw invalid(`${at}: wanted one of allOf and anyOf`);
  if (depth > MAX_DEPTH) throw invalid(`${at}: nested deeper than ${MAX_DEPTH}`);
  const conditions = list(group[name], `${at}.${name}`).map((item, i) =>
    parseCondition(item, `${at}.${name}[${i}]`, depth),
  );
  return name === 'allOf' ? { allOf: conditions } : { anyOf: conditions };
}

function parseCondition(value: unknown, at: string, depth: number): PolicyCondition {
  if (typeof value === 'object' && value !== null && !('claim' in value)) {
    return parseGroup(members(value, at, ['allOf', 'anyOf']), at, depth + 1);
  }
  const { claim, equals } = members(value, at, ['claim', 'equals']);
  if (typeof claim !== 'string' || claim === '') throw invalid(`${at}.claim: wanted text`);
  const text = scalarText(equals);
  if (text === undefined) throw invalid(`${at}.equals: wanted text, a number or a boolean`);
  return { claim, equals: text };
}

function members(value: unknown, at: string, known: readonly string[]): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(`${at}: wanted an object`);
  const unknown = Object.keys(value).find((name) => !known.includes(name));
  if (unknown !== undefined) throw invalid(`${at}: ${JSON.stringify(unknown)} is not one of ${known.join(', ')}`);
  return { ...value };
}

function list(value: unknown, at: string): readonly unknown[] {
  // An empty allOf would be met by every token.
  if (!Array.isArray(value) || value.length === 0) throw invalid(`${at}: wanted a list that is not empty`);
  if (value.length > MAX_MEMBERS) throw invalid(`${at}: ${value.length} members, at most ${MAX_MEMBERS}`);
  return value;
}

function sortGroup(group: ConditionGroup): ConditionGroup {
  const sort = (items: readonly PolicyCondition[]) =>
    sorted(items.map((item) => ('claim' in item ? item : sortGroup(item))));
  return 'allOf' in group ? { allOf: sort(group.allOf) } : { anyOf: sort(group.anyOf) };
}

function sorted<T>(items: readonly T[]): T[] {
  const byText = new Map(items.map((item) => [JSON.stringify(item), item]));
  return [...byText].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, item]) => item);
}

/** What a token must have whichever way a group is met: the union below allOf, the intersection below anyOf. */
function demands(condition: PolicyCondition): ReadonlyMap<string, string> {
  if ('claim' in condition) return new Map([[condition.claim, condition.equals]]);
  if ('allOf' in condition) return new Map(condition.allOf.flatMap((item) => [...demands(item)]));
  const [first, ...others] = condition.anyOf.map(demands);
  return new Map([...(first ?? [])].filter(([claim, value]) => others.every((other) => other.get(claim) === value)));
}

function conditionsOf(condition: PolicyCondition): ClaimCondition[] {
  if ('claim' in condition) return [condition];
  return ('allOf' in condition ? condition.allOf : condition.anyOf).flatMap(conditionsOf);
}

function claimAt(claims: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((value, name) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    return Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
  }, claims);
}

function scalarText(value: unknown): string | undefined {
  // JSON.parse has rounded it, so that two numbers would be one.
  if (typeof value === 'number' && Math.abs(value) > Number.MAX_SAFE_INTEGER) return undefined;
  return ['string', 'number', 'boolean'].includes(typeof value) ? String(value) : undefined;
}

function invalid(message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', message);
}
