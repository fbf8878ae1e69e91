import { LinuxVirtualMachine } from '@cdktf/provider-azurerm/lib/linux-virtual-machine/index.js';
import { NetworkInterface } from '@cdktf/provider-azurerm/lib/network-interface/index.js';
import { UserAssignedIdentity } from '@cdktf/provider-azurerm/lib/user-assigned-identity/index.js';
import { Annotations, Fn, TerraformLocal } from 'cdktf';
import { Construct } from 'constructs';
import { type EnvironmentPolicy, STRICT_ENVIRONMENT } from '../runtime/catalogue.ts';
import { CLOUD_CONFIG_HEADER, cloudConfig } from './boot.ts';
import { misuse, requireAddress, requireMatch, requireWithin, SHA256_HEX } from './misuse.ts';
import { checkName, nameOf } from './names.ts';
import type { PlacementProps } from './placement.ts';
import { currentSubscriptionId } from './provider.ts';
import { SelfDeallocation } from './self-deallocation.ts';
import { type ConfidentialVmSize, generationOf, genoaSize } from './vm-sizes.ts';

/**
 * Azure starts no Linux machine without an SSH key. This one is a point found by hashing a sentence, so that nobody can
 * have its private half (test/constructs/confidential-trainer.test.ts finds it again); sshd is masked besides.
 */
export const NOBODYS_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB5uP76BsMnMRoMd0bJbs5+YwinBgu00Dq2BKet6+2iO';
const ADMIN = 'nobody-enters';

export interface TrainerBundle {
  /** SHA-256 (hex) of `trainer.tar`. */
  readonly sha256: string;
  /** SHA-256 (hex) of the Node binary that runs it. */
  readonly nodeSha256: string;
}

export interface ConfidentialTrainerProps extends PlacementProps {
  readonly subnetId: string;
  /** What the machines fetch and start, and nothing else. A new digest replaces the machines. */
  readonly bundle: TrainerBundle;
  /** Where bundles and runs are. */
  readonly store: { readonly blobEndpoint: string };
  /** Where metrics and security events go. */
  readonly logs: { readonly endpoint: string; readonly ruleId: string };
  /** Host name to fixed address of every private endpoint: trainers have no DNS. */
  readonly hosts: Readonly<Record<string, string>>;
  /**
   * Version of the image Canonical / ubuntu-24_04-lts / cvm. Pinned, because `latest` is another machine tomorrow.
   */
  readonly imageVersion: string;
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
   * Disk encryption set of type ConfidentialVmEncryptedWithCustomerKey.
   * @default - the disk is encrypted to the machine with a key that the platform keeps
   */
  readonly diskEncryptionSetId?: string;
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
 * to the machine, no public address, no extension, no agent, no password. DC4as_v5: about 0.20 USD an hour while on.
 * @example
 * const trainer = new ConfidentialTrainer(this, 'Trainer', { ...place, subnetId, bundle, store, logs, hosts, imageVersion });
 * store.grantTraining(trainer);
 */
export class ConfidentialTrainer extends Construct {
  readonly principalId: string;
  readonly identityClientId: string;
  readonly bundleSha256: string;
  /** Resource ids, in the order of the machines. */
  readonly vmIds: readonly string[];

  constructor(scope: Construct, id: string, props: ConfidentialTrainerProps) {
    super(scope, id);
    const size = this.#checkSize(props.size ?? 'Standard_DC4as_v5', props.environment ?? STRICT_ENVIRONMENT);
    requireMatch(this, 'bundle.sha256', props.bundle.sha256, SHA256_HEX, '64 lower-case hex digits');
    requireMatch(this, 'bundle.nodeSha256', props.bundle.nodeSha256, SHA256_HEX, '64 lower-case hex digits');
    requireMatch(
      this,
      'imageVersion',
      props.imageVersion,
      /^\d+\.\d+\.\d+$/,
      'a pinned version such as 24.04.202511010',
    );
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
    const hosts = this.#checkHosts(props);
    const vmIds = Array.from({ length: count }, (_, i) => {
      const machineName = `${name}-${i}`;
      // A local and not text: a reviewer of the plan reads it, and Terraform does the quoting.
      const boot = new TerraformLocal(
        this,
        `Boot${i}`,
        cloudConfig({
          // Spelt out: the machine's own id cannot be part of what it is made from.
          vmResourceId: `${groupId}/providers/Microsoft.Compute/virtualMachines/${machineName}`,
          identityClientId: identity.clientId,
          blobEndpoint: props.store.blobEndpoint,
          bundleSha256: props.bundle.sha256,
          nodeSha256: props.bundle.nodeSha256,
          logs: props.logs,
          hosts,
        }),
      );
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
          publisher: 'Canonical',
          offer: 'ubuntu-24_04-lts',
          sku: 'cvm',
          version: props.imageVersion,
        },
        // These three make it confidential. None is an option: a flag would let a plan turn it off without a word.
        secureBootEnabled: true,
        vtpmEnabled: true,
        osDisk: {
          name: `disk-${machineName}`,
          caching: 'ReadWrite',
          storageAccountType: 'Premium_LRS',
          securityEncryptionType: 'DiskWithVMGuestState',
          ...(props.diskEncryptionSetId === undefined
            ? {}
            : { secureVmDiskEncryptionSetId: props.diskEncryptionSetId }),
        },
        encryptionAtHostEnabled: false, // refused by Azure beside DiskWithVMGuestState
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
  }

  /** What goes into a command of the boot has to be a name and an address. */
  #checkHosts({ hosts, resourceManagerAddress }: ConfidentialTrainerProps): Readonly<Record<string, string>> {
    for (const [name, address] of Object.entries(hosts)) {
      requireMatch(this, 'hosts', name, /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/, 'host names');
      requireAddress(this, `hosts["${name}"]`, address);
    }
    if (resourceManagerAddress === undefined) return hosts;
    return { ...hosts, 'management.azure.com': requireAddress(this, 'resourceManagerAddress', resourceManagerAddress) };
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
