import { expect, test } from 'vitest';
import { ROLES, RoleAssignments } from '../../emulator/roles.ts';

const VAULT = '/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/kv-owner';
const UNWRAP = 'Microsoft.KeyVault/vaults/keys/unwrap/action';

test.each<[keyof typeof ROLES, boolean]>([
  ['keyVaultCryptoOfficer', true],
  ['keyVaultCryptoServiceReleaseUser', false],
  ['storageBlobDataContributor', false],
  ['owner', false],
])('with %s unwrapping by an escrow key: %s', (role, allowed) => {
  const assignment = { name: 'a', scope: VAULT, principalId: 'somebody', roleId: ROLES[role] };
  const roles = new RoleAssignments([assignment], () => undefined);
  expect(roles.allows('somebody', UNWRAP, `${VAULT}/keys/escrow`)).toBe(allowed);
  expect(roles.allows('another', UNWRAP, `${VAULT}/keys/escrow`)).toBe(false);
  expect(roles.allows('somebody', UNWRAP, `${VAULT}-2/keys/escrow`)).toBe(false);
});
