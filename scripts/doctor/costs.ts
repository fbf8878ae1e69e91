import { type DeclaredResource, ofType } from './resources.ts';

/** What a bill is made of: how many, and what is counted. No prices: they differ by region and agreement. */
export interface CostDriver {
  readonly count: number;
  readonly what: string;
  readonly billed: string;
}

/** Billed things by type; what is not here is free, or billed with what it belongs to. Pricing pages of azure.microsoft.com. */
const BILLED: Readonly<Record<string, readonly [what: string, billed: string]>> = {
  azurerm_linux_virtual_machine: [
    'virtual machines with a premium disk',
    'machine by the second while it is not deallocated; its disk by the month, always',
  ],
  'Microsoft.KeyVault/vaults/keys': [
    'HSM-protected keys',
    'by the month for each version used in the last 30 days, and by operation',
  ],
  azurerm_private_endpoint: ['private endpoints', 'by the hour, and by gigabyte in and out'],
  azurerm_private_dns_zone: ['private DNS zones', 'by the month, and by query'],
  azurerm_log_analytics_workspace: [
    'log workspaces',
    'by gigabyte taken in, and by gigabyte and month kept beyond 31 days',
  ],
  azurerm_storage_account: [
    'storage accounts',
    'by gigabyte and month, old versions and deleted blobs included; by operation; by gigabyte scanned where malware scanning is on',
  ],
  azurerm_nat_gateway: ['NAT gateways', 'by the hour, and by gigabyte'],
  azurerm_public_ip: ['public addresses', 'by the hour'],
  'Microsoft.Network/networkWatchers/flowLogs': ['flow logs', 'by gigabyte collected, and as storage'],
  azurerm_monitor_scheduled_query_rules_alert_v2: ['log alerts', 'by the month for each rule, by how often it looks'],
  azurerm_monitor_metric_alert: ['metric alerts', 'by the month for each series watched'],
};

export function costDrivers(resources: readonly DeclaredResource[]): readonly CostDriver[] {
  return Object.entries(BILLED).flatMap(([type, [what, billed]]) => {
    const count = ofType(resources, type).length;
    return count === 0 ? [] : [{ count, what, billed }];
  });
}
