import { DevTestGlobalVmShutdownSchedule } from '@cdktf/provider-azurerm/lib/dev-test-global-vm-shutdown-schedule/index.js';
import { LinuxVirtualMachine } from '@cdktf/provider-azurerm/lib/linux-virtual-machine/index.js';
import { NetworkInterface } from '@cdktf/provider-azurerm/lib/network-interface/index.js';
import { VirtualMachineExtension } from '@cdktf/provider-azurerm/lib/virtual-machine-extension/index.js';
import { Construct } from 'constructs';
import { type Grantee, grantRole } from './grantee.ts';
import { ADMIN, IMAGE, NO_EXTRA_CAPABILITIES, NOBODYS_KEY } from './machine.ts';
import { misuse, requireMatch } from './misuse.ts';
import { checkName, nameOf } from './names.ts';
import type { PlacementProps } from './placement.ts';
import { type ConfidentialVmSize, generationOf } from './vm-sizes.ts';

export interface OperatorHostProps extends PlacementProps {
  /**
   * A subnet that reaches the endpoints, and from which Entra ID and packages.microsoft.com can be reached: never the
   * trainers'. People come to it through their own network, or a Bastion in it.
   */
  readonly subnetId: string;
  /**
   * Version of the image Canonical / ubuntu-24_04-lts / cvm.
   * @default '24.04.202511010'
   */
  readonly imageVersion?: string;
  /**
   * Size of the machine.
   * @default 'Standard_DC2as_v5'
   */
  readonly size?: ConfidentialVmSize;
  /**
   * Time of day (HHMM, UTC) at which it is switched off.
   * @default '2000'
   */
  readonly dailyShutdown?: string;
}

/**
 * Somewhere to run data-plane commands (`ctrain publish-trainer`, `lock-key`, uploads) where no peered network exists. It
 * is no part of what must be trusted: no public address, its identity has no role, whoever logs in brings their own
 * through `az login`. Entra login is an extension in Azure (AADSSHLoginForLinux), the one place here that has one and the
 * reason why this construct is asked for and never made by itself.
 * What is billed is the machine by the second until it is deallocated, and its disk.
 * @example
 * const host = new OperatorHost(this, 'Host', { ...place, subnetId });
 * host.grantLogin(operatorsGroupId); // then: az ssh vm --name … --prefer-private-ip
 */
export class OperatorHost extends Construct {
  readonly vmId: string;

  constructor(scope: Construct, id: string, props: OperatorHostProps) {
    super(scope, id);
    const size = props.size ?? 'Standard_DC2as_v5';
    if (generationOf(size) === undefined) {
      throw misuse(this, 'size', 'a DCas, DCads, ECas or ECads size of version 5 or 6', size);
    }
    const version = props.imageVersion ?? IMAGE.version;
    requireMatch(this, 'imageVersion', version, IMAGE.pattern, `a pinned version such as ${IMAGE.version}`);
    const time = props.dailyShutdown ?? '2000';
    requireMatch(this, 'dailyShutdown', time, /^([01]\d|2[0-3])[0-5]\d$/, 'a time of day as HHMM');
    const tags = props.tags === undefined ? {} : { tags: props.tags };
    const place = { resourceGroupName: props.resourceGroupName, location: props.location, ...tags };
    const name = nameOf(this, 'virtualMachine', props.name);
    const nic = new NetworkInterface(this, 'Nic', {
      ...place,
      name: checkName(this, 'networkInterface', `nic-${name}`),
      acceleratedNetworkingEnabled: false,
      ipForwardingEnabled: false,
      ipConfiguration: [
        { name: 'private', subnetId: props.subnetId, privateIpAddressAllocation: 'Dynamic', primary: true },
      ],
    });
    const machine = new LinuxVirtualMachine(this, 'Resource', {
      ...place,
      name,
      size,
      networkInterfaceIds: [nic.id],
      sourceImageReference: { publisher: IMAGE.publisher, offer: IMAGE.offer, sku: IMAGE.sku, version },
      secureBootEnabled: true,
      vtpmEnabled: true,
      osDisk: {
        name: `disk-${name}`,
        caching: 'ReadWrite',
        storageAccountType: 'Premium_LRS',
        securityEncryptionType: 'DiskWithVMGuestState',
      },
      encryptionAtHostEnabled: false, // refused by Azure beside DiskWithVMGuestState
      additionalCapabilities: NO_EXTRA_CAPABILITIES,
      adminUsername: ADMIN,
      disablePasswordAuthentication: true,
      adminSshKey: [{ username: ADMIN, publicKey: NOBODYS_KEY }],
      identity: { type: 'SystemAssigned' }, // the extension wants one
      bootDiagnostics: {},
    });
    new VirtualMachineExtension(this, 'EntraLogin', {
      name: 'AADSSHLoginForLinux',
      virtualMachineId: machine.id,
      publisher: 'Microsoft.Azure.ActiveDirectory',
      type: 'AADSSHLoginForLinux',
      typeHandlerVersion: '1.0',
      autoUpgradeMinorVersion: true,
      ...tags,
    });
    new DevTestGlobalVmShutdownSchedule(this, 'Schedule', {
      virtualMachineId: machine.id,
      location: props.location,
      dailyRecurrenceTime: time,
      timezone: 'UTC',
      enabled: true,
      notificationSettings: { enabled: false },
      ...tags,
    });
    this.vmId = machine.id;
  }

  /** Lets people log in with their Entra account and no sudo. */
  grantLogin(to: Grantee): void {
    grantRole(this, 'Login', to, {
      scope: this.vmId,
      role: 'Virtual Machine User Login',
      reason: 'logs in to run data-plane commands from inside the network',
    });
  }
}
