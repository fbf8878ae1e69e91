import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import {
  type EnvironmentPolicy,
  GENERATIONS,
  REVOCATION_LIST_RULES,
  STRICT_ENVIRONMENT,
} from '../runtime/catalogue.ts';
import {
  dictionary,
  either,
  type FieldProblem,
  flag,
  isObject,
  list,
  object,
  oneOf,
  optional,
  text,
  whole,
} from './config-fields.ts';

const guid = text(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'a lower-case GUID');
const sha256 = text(/^[0-9a-f]{64}$/, '64 lower-case hex digits');
const location = text(/^[a-z][a-z0-9]+$/, 'a region in Azure spelling, such as westeurope');
const resourceGroup = text(/^(?=.{1,90}$)[A-Za-z](?:-?[A-Za-z0-9])*$/, 'letters, digits and single hyphens');
const network = text(/^\d{1,3}(\.\d{1,3}){3}\/\d{1,2}$/, 'an IPv4 network such as 10.60.0.0/24');
const address = text(/^\d{1,3}(\.\d{1,3}){3}$/, 'an IPv4 address');
const resourceId = text(/^\/subscriptions\/[^/]+\/resourceGroups\/[^/]+\/providers\/.+$/, 'a resource id');

const localBackend = object({ kind: oneOf('local') });
const azureBackend = object({
  kind: oneOf('azurerm'),
  subscriptionId: guid,
  resourceGroup,
  storageAccount: text(/^[a-z0-9]{3,24}$/, '3 to 24 lower-case letters and digits'),
  container: text(/^[a-z0-9](?:-?[a-z0-9]){2,62}$/, 'the name of a container'),
});

const watcherName = text(/^[A-Za-z][A-Za-z0-9_.-]{0,79}$/, 'the name of a network watcher');
const mail = text(/^[^\s@]+@[^\s@]+\.[^\s@]+$/, 'a mail address');
const optionalActionGroup = optional(
  either((value) => isObject(value) && 'id' in value, object({ id: resourceId }), object({ emails: list(mail) })),
  undefined,
);
const optionalBudget = optional(
  object({
    monthlyAmount: whole(1, 1_000_000),
    startMonth: text(/^20\d\d-(0[1-9]|1[0-2])$/, 'a month as YYYY-MM'),
  }),
  undefined,
);
const policies = optional(oneOf('none', 'Audit', 'Deny'), 'none');

const zoneIds = object({
  vault: list(resourceId),
  blob: list(resourceId),
  attestation: list(resourceId),
  monitor: list(resourceId),
});

/** Every field of `environments/*.json`; what may be left out says what it is then. environments/example.json explains each one. */
const CONFIG = object({
  name: text(/^[a-z](?:-?[a-z0-9]){1,9}$/, '2 to 10 lower-case letters, digits and single hyphens'),
  profile: oneOf('sandbox', 'production'),
  tenantId: guid,
  location,
  tags: optional(dictionary(/^[^<>%&\\?/]{1,128}$/, 'Azure tags', text(/^.{0,256}$/s, 'at most 256 characters')), {}),
  backend: either((value) => isObject(value) && value.kind === 'local', localBackend, azureBackend),
  environment: optional(
    object({
      generations: optional(list(oneOf(...GENERATIONS)), STRICT_ENVIRONMENT.generations),
      vmIds: optional(
        either((value) => value === 'any', oneOf('any'), list(guid)),
        'any',
      ),
      revocationList: optional(oneOf(...REVOCATION_LIST_RULES), STRICT_ENVIRONMENT.revocationList),
    }),
    {
      generations: STRICT_ENVIRONMENT.generations,
      vmIds: 'any',
      revocationList: STRICT_ENVIRONMENT.revocationList,
    },
  ),
  owner: object({
    subscriptionId: guid,
    resourceGroup,
    policySigningCertificates: list(text(/^[A-Za-z0-9+/]+={0,2}$/, 'an X.509 certificate in base64 DER')),
    attestationPolicyHash: optional(text(/^[A-Za-z0-9_-]{43}$/, '43 characters of base64url'), undefined),
    administrators: optional(list(guid), []),
    readers: optional(list(guid), []),
    releaseTo: optional(list(guid), []),
    logRetentionDays: optional(whole(30, 730), 365),
    actionGroup: optionalActionGroup,
    budget: optionalBudget,
    policies,
  }),
  platform: object({
    subscriptionId: guid,
    resourceGroup,
    network: optional(object({ trainerSubnetId: resourceId, endpointSubnetId: resourceId }), undefined),
    addressSpace: optional(network, '10.60.0.0/24'),
    operatorAddressSpaces: optional(list(network), []),
    outbound: optional(oneOf('none', 'nat'), 'none'),
    flowLogs: optional(
      object({
        retentionDays: optional(whole(90, 365), 90),
        networkWatcher: optional(object({ name: watcherName, resourceGroup }), undefined),
      }),
      undefined,
    ),
    dns: optional(either(isObject, zoneIds, oneOf('create', 'azure-policy')), 'create'),
    workspaceId: optional(resourceId, undefined),
    uploaders: optional(list(guid), []),
    publishers: optional(list(guid), []),
    dataRetentionDays: optional(whole(1, 365), 30),
    logRetentionDays: optional(whole(30, 730), 90),
    replication: optional(oneOf('LRS', 'ZRS', 'GZRS'), 'ZRS'),
    customerKey: optional(flag, false),
    diskKey: optional(
      either(
        (value) => isObject(value) && 'diskEncryptionSetId' in value,
        object({ diskEncryptionSetId: resourceId }),
        object({ orchestratorPrincipalId: guid }),
      ),
      undefined,
    ),
    operatorHost: optional(object({ subnetId: resourceId, users: optional(list(guid), []) }), undefined),
    actionGroup: optionalActionGroup,
    budget: optionalBudget,
    policies,
  }),
  training: object({
    resourceGroup,
    size: optional(text(/^Standard_[A-Za-z0-9_]+$/, 'a VM size such as Standard_DC4as_v5'), 'Standard_DC4as_v5'),
    count: optional(whole(1, 100), 1),
    imageVersion: text(/^\d+\.\d+\.\d+$/, 'a pinned version such as 24.04.202511010'),
    bundleSha256: sha256,
    nodeSha256: sha256,
    dailyShutdown: optional(text(/^([01]\d|2[0-3])[0-5]\d$/, 'a time of day as HHMM'), '0400'),
    resourceManagerAddress: optional(address, undefined),
    operators: optional(list(guid), []),
    budget: optionalBudget,
    policies,
  }),
});

/** One environment: everything its three stacks need, checked and frozen. */
export type DeploymentConfig = ReturnType<typeof CONFIG>;

/**
 * Reads what an environment file says.
 * @param source named in messages
 * @throws {@link RangeError} listing every field that does not fit
 */
export function parseDeploymentConfig(value: unknown, source: string): DeploymentConfig {
  const problems: FieldProblem[] = [];
  const config = CONFIG(value, '', problems);
  if (problems.length === 0) problems.push(...contradictions(config));
  if (problems.length === 0) return deepFreeze(config);
  const lines = problems.map(({ path, found, wanted }) => {
    const shown = found === undefined ? 'nothing' : JSON.stringify(found);
    return `${path || 'the file'}: found ${shown}, wanted ${wanted}`;
  });
  throw new RangeError(`${source}: ${lines.join('; ')}`);
}

/** Reads an environment file; its name and the environment's have to agree, so that nobody applies one believing it is another. */
export function loadDeploymentConfig(path: string): DeploymentConfig {
  const file = basename(path);
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new RangeError(`${file}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  const config = parseDeploymentConfig(value, file);
  const expected = file.replace(/\.json$/, '');
  if (config.name !== expected)
    throw new RangeError(`${file}: name: found "${config.name}", wanted "${expected}" like the file`);
  return config;
}

/** The strict policy with what this environment says. */
export function environmentPolicy(config: DeploymentConfig): EnvironmentPolicy {
  return { ...STRICT_ENVIRONMENT, ...config.environment };
}

/** What each field on its own cannot show. */
function contradictions(config: DeploymentConfig): FieldProblem[] {
  const tells = {
    owner: config.owner.actionGroup,
    platform: config.platform.actionGroup,
    training: config.platform.actionGroup,
  };
  const deaf = (['owner', 'platform', 'training'] as const).filter(
    (part) => config[part].budget !== undefined && tells[part] === undefined,
  );
  const { network, outbound } = config.platform;
  return [
    ...deaf.map((part) => ({
      path: `${part}.budget`,
      found: config[part].budget,
      wanted: `an actionGroup in ${part === 'owner' ? part : 'platform'} that is told`,
    })),
    // A way out of somebody else's network is theirs to give.
    ...(network !== undefined && outbound === 'nat'
      ? [{ path: 'platform.outbound', found: outbound, wanted: 'none where the network is brought' }]
      : []),
  ];
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) for (const member of Object.values(value)) deepFreeze(member);
  return Object.freeze(value);
}
