/** What every storage account of ours has: no key, no public network, no anonymous reader, no old TLS. */
export const PRIVATE_ACCOUNT = {
  accountKind: 'StorageV2',
  accountTier: 'Standard',
  minTlsVersion: 'TLS1_2',
  httpsTrafficOnlyEnabled: true,
  publicNetworkAccessEnabled: false,
  allowNestedItemsToBePublic: false,
  allowedCopyScope: 'PrivateLink',
  crossTenantReplicationEnabled: false,
  sharedAccessKeyEnabled: false,
  defaultToOauthAuthentication: true,
  localUserEnabled: false,
  infrastructureEncryptionEnabled: true,
} as const;
