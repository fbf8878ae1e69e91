import { LinuxVirtualMachine } from '@cdktf/provider-azurerm/lib/linux-virtual-machine/index.js';
import { NetworkInterface } from '@cdktf/provider-azurerm/lib/network-interface/index.js';
import { UserAssignedIdentity } from '@cdktf/provider-azurerm/lib/user-assigned-identity/index.js';
import { Annotations, Fn, Lazy, TerraformLocal } from 'cdktf';
import { Construct } from 'constructs';
import { type EnvironmentPolicy, NODE_SHA256, STRICT_ENVIRONMENT } from '../runtime/catalogue.ts';
import type { AuditTarget } from './audit-log.ts';
import { CLOUD_CONFIG_HEADER, cloudConfig } from './boot.ts';
import { waitFor } from './dependencies.ts';
import type { DiskKeyReference } from './disk-key.ts';
import type { Grantee } from './grantee.ts';
import { HostFile } from './host-file.ts';
import { LogIngestion } from './log-ingestion.ts';
import { ADMIN, IMAGE, NO_EXTRA_CAPABILITIES, NOBODYS_KEY } from './machine.ts';
import { misuse, requireAddress, requireMatch, requireWithin, SHA256_HEX } from './misuse.ts';
import { checkName, nameOf } from './names.ts';
import { OperatorRole } from './operator-role.ts';
import type { PlacementProps } from './placement.ts';
import type { ServiceEndpoint } from './private-access.ts';
import { currentSubscriptionId } from './provider.ts';
import { SelfDeallocation } from './self-deallocation.ts';
import { type ConfidentialVmSize, generationOf, genoaSize } from './vm-sizes.ts';

export interface TrainerBundle {
  /** SHA-256 (hex) of `trainer.tar`. */
  readonly sha256: string;
  /**
   * SHA-256 (hex) of the Node binary that runs it.
   * @default NODE_SHA256 - the one that bundles of this version are made for
   */
  readonly nodeSha256?: string;
}

export interface ConfidentialTrainerProps extends PlacementProps {
  readonly subnetId: string;
  /** What the machines fetch and start, and nothing else. A new digest replaces the machines. */
  readonly bundle: TrainerBundle;
  /**
   * Where metrics and security events go.
   * @default - a LogIngestion of its own; a second trainer on the same workspace takes the `logs` of the first
   */
  readonly logs?: { readonly endpoint: string; readonly ruleId: string };
  /**
   * The workspace of the trainer's own {@link LogIngestion}. Whoever has the network's private link scope adds that one to it.
   * @default - `logs` says where to, which one of the two has to
   */
  readonly audit?: AuditTarget;
  /**
   * The owner's attestation provider, of which the machines have to know the address.
   * @default - `hosts` or the network's DNS knows it
   */
  readonly attestation?: { readonly authority: string; readonly address: string | undefined };
  /**
   * Host name to address of private endpoints that no `grant…` has told the trainer about: there is no DNS in it.
   * @default {} - endpoints of the store, the vault and the logs that grant it a role are known
   */
  readonly hosts?: Readonly<Record<string, string>>;
  /**
   * Version of the image Canonical / ubuntu-24_04-lts / cvm. Pinned, because `latest` is another machine tomorrow.
   * @default '24.04.202511010'
   */
  readonly imageVersion?: string;
  /**
   * Size of the machines. Sizes of version 5 run on Milan, whose known weaknesses Genoa (version 6) does not share.
   * @default 'Standard_DC4as_v5'
   */
  readonly size?: ConfidentialVmSize;
  /**
   * Machines, 1 to 100. Each takes one run at a time; one that waits is switched off and costs its disk only.
   * @default 1
   */
  readonly count?: number;
  /**
   * What the machines check about themselves; a size whose generation it does not accept is refused.
   * @default STRICT_ENVIRONMENT
   */
  readonly environment?: EnvironmentPolicy;
  /**
   * Customer's key for the disk, beneath the machine's own.
   * @default - the disk is encrypted to the machine with a key that the platform keeps
   */
  readonly diskKey?: DiskKeyReference;
  /**
   * Address of management.azure.com, which a machine without DNS cannot look up.
   * @default - a finished machine cannot ask to be switched off and waits for whoever started it, or for the schedule
   */
  readonly resourceManagerAddress?: string;
  /**
   * Time of day (HHMM, UTC) at which a machine that is still on is switched off.
   * @default '0400'
   */
  readonly dailyShutdown?: string;
  /**
   * Subscription id, which the machines' resource ids contain.
   * @default - the subscription of the stack's provider
   */
  readonly subscriptionId?: string;
}

/**
 * Confidential machines that start one pinned bundle and that nobody enters: secure boot and vTPM always, disk encrypted
 * to the machine, no public address, no extension, no agent, no password. It needs one store, which it is given by
 * `grantTraining`. What is billed is each machine by the second until it is deallocated, and its disk as long as it exists.
 * @example
 * const trainer = new ConfidentialTrainer(this, 'Trainer', { ...place, subnetId, bundle: { sha256 }, attestation, audit });
 * key.grantRelease(trainer);
 * store.grantTraining(trainer);
 */
export class ConfidentialTrainer extends Construct {
  readonly principalId: string;
  readonly identityClientId: string;
  readonly bundleSha256: string;
  /** Resource ids, in the order of the machines. */
  readonly vmIds: readonly string[];
  /** Where metrics and security events go. */
  readonly logs: { readonly endpoint: string; readonly ruleId: string };
  readonly resourceGroupName: string;
  readonly #resourceGroupId: string;
  readonly #name: string;
  readonly #hostFile: HostFile;

  constructor(scope: Construct, id: string, props: ConfidentialTrainerProps) {
    super(scope, id);
    const size = this.#checkSize(props.size ?? 'Standard_DC4as_v5', props.environment ?? STRICT_ENVIRONMENT);
    requireMatch(this, 'bundle.sha256', props.bundle.sha256, SHA256_HEX, '64 lower-case hex digits');
    const nodeSha256 = props.bundle.nodeSha256 ?? NODE_SHA256;
    requireMatch(this, 'bundle.nodeSha256', nodeSha256, SHA256_HEX, '64 lower-case hex digits');
    const imageVersion = props.imageVersion ?? IMAGE.version;
    requireMatch(this, 'imageVersion', imageVersion, IMAGE.pattern, `a pinned version such as ${IMAGE.version}`);
    this.#checkDiskKey(props);
    const count = requireWithin(this, 'count', props.count ?? 1, 1, 100);
    const place = { resourceGroupName: props.resourceGroupName, location: props.location };
    const tags = props.tags === undefined ? {} : { tags: props.tags };
    const name = nameOf(this, 'virtualMachine', props.name);
    const identity = new UserAssignedIdentity(this, 'Identity', {
      ...place,
      ...tags,
      name: checkName(this, 'identity', `id-${name}`),
    });
    const subscriptionId = props.subscriptionId ?? currentSubscriptionId(this);
    const groupId = `/subscriptions/${subscriptionId}/resourceGroups/${props.resourceGroupName}`;
    const logs = props.logs ?? this.#ownLogs(props);
    const hostFile = new HostFile(this, hostsOf(this, props));
    const vmIds = Array.from({ length: count }, (_, i) => {
      const machineName = `${name}-${i}`;
      // A local and not text: a reviewer of the plan reads it, and Terraform does the quoting.
      const config = () =>
        cloudConfig({
          // Spelt out: the machine's own id cannot be part of what it is made from.
          vmResourceId: `${groupId}/providers/Microsoft.Compute/virtualMachines/${machineName}`,
          identityClientId: identity.clientId,
          blobEndpoint: hostFile.blobEndpoint(),
          bundleSha256: props.bundle.sha256,
          nodeSha256,
          logs,
          hosts: hostFile.hosts(),
        });
      const boot = new TerraformLocal(this, `Boot${i}`, Lazy.anyValue({ produce: config }));
      const nic = new NetworkInterface(this, `Nic${i}`, {
        ...place,
        ...tags,
        name: checkName(this, 'networkInterface', `nic-${machineName}`),
        acceleratedNetworkingEnabled: false, // version 5 sizes refuse it for confidential machines
        ipForwardingEnabled: false,
        ipConfiguration: [
          { name: 'private', subnetId: props.subnetId, privateIpAddressAllocation: 'Dynamic', primary: true },
        ],
      });
      const machine = new LinuxVirtualMachine(this, i === 0 ? 'Resource' : `Resource${i}`, {
        ...place,
        ...tags,
        name: checkName(this, 'virtualMachine', machineName),
        size,
        networkInterfaceIds: [nic.id],
        sourceImageReference: {
          publisher: IMAGE.publisher,
          offer: IMAGE.offer,
          sku: IMAGE.sku,
          version: imageVersion,
        },
        // These three make it confidential. None is an option: a flag would let a plan turn it off without a word.
        secureBootEnabled: true,
        vtpmEnabled: true,
        osDisk: {
          name: `disk-${machineName}`,
          caching: 'ReadWrite',
          storageAccountType: 'Premium_LRS',
          securityEncryptionType: 'DiskWithVMGuestState',
          ...(props.diskKey === undefined ? {} : { secureVmDiskEncryptionSetId: props.diskKey.diskEncryptionSetId }),
        },
        ...waitFor(this, props.diskKey?.dependencies),
        encryptionAtHostEnabled: false, // refused by Azure beside DiskWithVMGuestState
        additionalCapabilities: NO_EXTRA_CAPABILITIES,
        allowExtensionOperations: false,
        provisionVmAgent: false,
        adminUsername: ADMIN,
        disablePasswordAuthentication: true,
        adminSshKey: [{ username: ADMIN, publicKey: NOBODYS_KEY }],
        identity: { type: 'UserAssigned', identityIds: [identity.id] },
        bootDiagnostics: {}, // the serial console's output, in storage that Azure manages
        customData: Fn.base64encode(Fn.join('\n', [CLOUD_CONFIG_HEADER, Fn.jsonencode(boot.expression)])),
      });
      return machine.id;
    });
    new SelfDeallocation(this, 'Stop', {
      resourceGroupId: groupId,
      location: props.location,
      vmIds,
      principalId: identity.principalId,
      roleName: `Trainer self-deallocation ${name} in ${subscriptionId}`,
      ...(props.dailyShutdown === undefined ? {} : { dailyShutdown: props.dailyShutdown }),
      ...tags,
    });
    this.principalId = identity.principalId;
    this.identityClientId = identity.clientId;
    this.bundleSha256 = props.bundle.sha256;
    this.vmIds = vmIds;
    this.logs = logs;
    this.resourceGroupName = props.resourceGroupName;
    this.#hostFile = hostFile;
    this.#resourceGroupId = groupId;
    this.#name = `${name} in ${subscriptionId}`;
    if (props.logs === undefined && logs instanceof LogIngestion) logs.grantSend(this);
  }

  /** Called by whatever grants the trainer a role at a service. */
  connect(endpoint: ServiceEndpoint): void {
    this.#hostFile.connect(endpoint);
  }

  /** Lets people start machines, switch them off and read their serial console; nothing gets them in. */
  grantOperate(to: Grantee): void {
    const found = this.node.tryFindChild('Operate');
    const role =
      found instanceof OperatorRole
        ? found
        : new OperatorRole(this, 'Operate', { resourceGroupId: this.#resourceGroupId, name: this.#name });
    role.grant(to, this.vmIds);
  }

  #ownLogs({ resourceGroupName, location, tags, audit }: ConfidentialTrainerProps): LogIngestion {
    if (audit === undefined) throw misuse(this, 'audit', 'given where logs are not', audit);
    return new LogIngestion(this, 'Logs', {
      resourceGroupName,
      location,
      audit,
      ...(tags === undefined ? {} : { tags }),
    });
  }

  /** Region and encryption have to fit each other, and both the machine: whatever of that can be known before an apply. */
  #checkDiskKey({ diskKey, location }: ConfidentialTrainerProps): void {
    if (diskKey?.location !== undefined && diskKey.location !== location) {
      throw misuse(this, 'diskKey', `in ${location}, as the machines are`, diskKey.location);
    }
  }

  #checkSize(size: string, environment: EnvironmentPolicy): string {
    const generation = generationOf(size);
    if (generation === undefined) {
      throw misuse(this, 'size', 'a DCas, DCads, ECas or ECads size of version 5 or 6', size);
    }
    if (!environment.generations.includes(generation)) {
      throw misuse(
        this,
        'size',
        `on ${environment.generations.join(' or ')}, which the environment policy accepts`,
        `${size} (${generation})`,
      );
    }
    if (generation === 'Milan') {
      Annotations.of(this).addWarning(
        `${size} runs on Milan, whose firmware cannot be shown to be free of known weaknesses; ${genoaSize(size)} runs on Genoa`,
      );
    }
    return size;
  }
}

/** Addresses that no grant tells. */
function hostsOf(trainer: Construct, props: ConfidentialTrainerProps): Readonly<Record<string, string>> {
  const { attestation, resourceManagerAddress: address } = props;
  return {
    ...(attestation?.address === undefined ? {} : { [new URL(attestation.authority).hostname]: attestation.address }),
    ...(address === undefined
      ? {}
      : { 'management.azure.com': requireAddress(trainer, 'resourceManagerAddress', address) }),
    ...props.hosts,
  };
}
