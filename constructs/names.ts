import { createHash } from 'node:crypto';
import { Token } from 'cdktf';
import type { Construct } from 'constructs';
import { misuse } from './misuse.ts';

interface NameRule {
  readonly prefix: string;
  readonly pattern: RegExp;
  readonly wanted: string;
  readonly maximum: number;
}

// Letters, digits and hyphens; most Azure names allow more, none of ours needs it.
const plain = (prefix: string, minimum: number, maximum: number): NameRule => ({
  prefix,
  pattern: new RegExp(`^(?=.{${minimum},${maximum}}$)[A-Za-z](?:-?[A-Za-z0-9])*$`),
  wanted: `${minimum} to ${maximum} letters, digits and single hyphens that start with a letter`,
  maximum,
});
const compact = (prefix: string): NameRule => ({
  prefix,
  pattern: /^[a-z][a-z0-9]{2,23}$/,
  wanted: '3 to 24 lower-case letters and digits that start with a letter',
  maximum: 24,
});

/**
 * What Azure accepts as a name, or what all of a kind accept.
 * Source: learn.microsoft.com, "Naming rules and restrictions for Azure resources".
 */
const RULES = {
  resourceGroup: plain('rg', 1, 90),
  keyVault: plain('kv', 3, 24),
  releaseKey: plain('key', 1, 127),
  storageAccount: compact('st'),
  attestationProvider: compact('attest'),
  workspace: plain('log', 4, 63),
  dataCollectionEndpoint: plain('dce', 3, 44),
  dataCollectionRule: plain('dcr', 3, 64),
  privateLinkScope: plain('ampls', 3, 64),
  virtualNetwork: plain('vnet', 2, 64),
  subnet: plain('snet', 1, 80),
  networkSecurityGroup: plain('nsg', 1, 80),
  networkInterface: plain('nic', 1, 80),
  privateEndpoint: plain('pe', 2, 64),
  identity: plain('id', 3, 128),
  diskEncryptionSet: plain('des', 1, 80),
  actionGroup: plain('ag', 1, 260),
  budget: plain('budget', 1, 63),
  natGateway: plain('nat', 1, 80),
  publicAddress: plain('pip', 1, 80),
  flowLog: plain('flow', 1, 80),
  deployment: plain('deploy', 1, 64),
  // A Linux machine's name is its host name: 64 characters, and no capital letters keeps logs and DNS alike.
  virtualMachine: plain('vm', 1, 64),
} as const satisfies Readonly<Record<string, NameRule>>;
export type NamedKind = keyof typeof RULES;

/** Refuses a name that Azure would refuse, at synth and with the construct's path. Tokens pass: nobody knows their value yet. */
export function checkName(scope: Construct, kind: NamedKind, name: string, field = 'name'): string {
  const rule: NameRule = RULES[kind];
  if (!Token.isUnresolved(name) && !rule.pattern.test(name)) throw misuse(scope, field, rule.wanted, name);
  return name;
}

/** The given name, checked, or one that follows from the construct's address: the same on every machine, another for every construct. */
export function nameOf(scope: Construct, kind: NamedKind, given: string | undefined): string {
  const rule: NameRule = RULES[kind];
  if (given !== undefined) return checkName(scope, kind, given);
  const hyphen = rule.pattern.test('a-a-a-a') ? '-' : '';
  return `${rule.prefix}${hyphen}${scope.node.addr.slice(-Math.min(12, rule.maximum - 6))}`;
}

/** Six hex digits that keep globally unique names apart between subscriptions and stay the same from run to run. */
export function nameSuffix(...parts: readonly string[]): string {
  return createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 6);
}
