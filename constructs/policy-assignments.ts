import { ResourceGroupPolicyAssignment } from '@cdktf/provider-azurerm/lib/resource-group-policy-assignment/index.js';
import { Construct } from 'constructs';
import { misuse } from './misuse.ts';

interface BuiltIn {
  /** Id of Azure's own definition. Source: learn.microsoft.com, "Azure Policy built-in definitions". */
  readonly definition: string;
  readonly message: string;
  /** Whether the definition takes an effect; the others deny. */
  readonly takesEffect: boolean;
}

/** What these constructs never do, refused to everybody else in the same resource group as well. */
const BUILT_IN = {
  'storage-public-network': {
    definition: 'b2982f36-99f2-4db5-8eff-283140c09693',
    message: 'storage has no public network here',
    takesEffect: true,
  },
  'storage-shared-key': {
    definition: '8c6a50c6-9ffd-4ae7-986f-5fa6111f9a54',
    message: 'storage takes no shared keys here',
    takesEffect: true,
  },
  'vault-public-network': {
    definition: '405c5871-3e91-4644-8a63-58e19d68ff5b',
    message: 'vaults have no public network here',
    takesEffect: true,
  },
  'attestation-public-network': {
    definition: '5e7e928c-8693-4a23-9bf3-1c77b9a8fe97',
    message: 'attestation providers have no public network here',
    takesEffect: true,
  },
  'network-public-address': {
    definition: '83a86a26-fd1f-447c-b59d-e51f44264114',
    message: 'network cards have no public address here',
    takesEffect: false,
  },
} as const satisfies Readonly<Record<string, BuiltIn>>;
const ALLOWED_LOCATIONS = 'e56962a6-4747-49cd-b67b-bf8b01975c4c';

export interface PolicyAssignmentsProps {
  readonly resourceGroupId: string;
  /** Regions that resources of the group may be in. */
  readonly locations: readonly string[];
  /**
   * `Audit` lets pass and reports; for a group that already holds something else.
   * @default 'Deny'
   */
  readonly effect?: 'Deny' | 'Audit';
}

/**
 * Built-in Azure policies on one resource group: what nobody may open or move later, whether by portal, script or another
 * stack. They judge requests and change nothing. Free.
 * @example
 * new PolicyAssignments(this, 'Policies', { resourceGroupId: group.id, locations: ['westeurope'] });
 */
export class PolicyAssignments extends Construct {
  constructor(scope: Construct, id: string, props: PolicyAssignmentsProps) {
    super(scope, id);
    if (props.locations.length === 0) throw misuse(this, 'locations', 'one region or more', props.locations);
    const assign = (name: string, definition: string, message: string, parameters: object) =>
      new ResourceGroupPolicyAssignment(this, name, {
        name,
        displayName: `ctrain: ${message}`,
        resourceGroupId: props.resourceGroupId,
        policyDefinitionId: `/providers/Microsoft.Authorization/policyDefinitions/${definition}`,
        nonComplianceMessage: [{ content: message }],
        ...(Object.keys(parameters).length === 0 ? {} : { parameters: JSON.stringify(parameters) }),
      });
    for (const [name, { definition, message, takesEffect }] of Object.entries(BUILT_IN)) {
      // The one without a choice would deny in a group that is only to be looked at.
      if (!takesEffect && props.effect === 'Audit') continue;
      assign(name, definition, message, takesEffect ? { effect: { value: props.effect ?? 'Deny' } } : {});
    }
    if (props.effect !== 'Audit') {
      const message = `resources stay in ${props.locations.join(', ')}`;
      assign('locations', ALLOWED_LOCATIONS, message, { listOfAllowedLocations: { value: props.locations } });
    }
  }
}
