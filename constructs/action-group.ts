import { MonitorActionGroup } from '@cdktf/provider-azurerm/lib/monitor-action-group/index.js';
import { Construct } from 'constructs';
import { misuse, requireMatch } from './misuse.ts';
import { nameOf } from './names.ts';
import type { PlacementProps } from './placement.ts';

/** Who is told: a group made here, or one that exists. */
export interface ActionGroupReference {
  readonly actionGroupId: string;
}

export interface ActionGroupProps extends Omit<PlacementProps, 'location'> {
  /** Addresses that get a mail. For anything else bring a group by its id. */
  readonly emails: readonly string[];
  /**
   * What messages are headed with, 1 to 12 characters.
   * @default 'ctrain'
   */
  readonly shortName?: string;
}

/**
 * Who is told of alerts and budgets. Free; mails beyond a thousand a month are billed.
 * @example
 * const actionGroup = new ActionGroup(this, 'OnCall', { resourceGroupName, emails: ['on-call@example.com'] });
 */
export class ActionGroup extends Construct implements ActionGroupReference {
  readonly actionGroupId: string;

  constructor(scope: Construct, id: string, props: ActionGroupProps) {
    super(scope, id);
    if (props.emails.length === 0) throw misuse(this, 'emails', 'one address or more', props.emails);
    for (const email of props.emails) {
      requireMatch(this, 'emails', email, /^[^\s@]+@[^\s@]+\.[^\s@]+$/, 'mail addresses');
    }
    const shortName = props.shortName ?? 'ctrain';
    const group = new MonitorActionGroup(this, 'Resource', {
      name: nameOf(this, 'actionGroup', props.name),
      resourceGroupName: props.resourceGroupName,
      shortName: requireMatch(this, 'shortName', shortName, /^[A-Za-z0-9-]{1,12}$/, '1 to 12 letters and digits'),
      emailReceiver: props.emails.map((emailAddress, i) => ({
        name: `mail-${i}`,
        emailAddress,
        useCommonAlertSchema: true,
      })),
      ...(props.tags === undefined ? {} : { tags: props.tags }),
    });
    this.actionGroupId = group.id;
  }

  /** A group of the landing zone. */
  static fromActionGroupId(scope: Construct, id: string, actionGroupId: string): ActionGroupReference {
    const place = new Construct(scope, id);
    const pattern = /\/Microsoft\.Insights\/actionGroups\/[^/]+$/i;
    requireMatch(place, 'actionGroupId', actionGroupId, pattern, 'the resource id of an action group');
    return { actionGroupId };
  }
}
