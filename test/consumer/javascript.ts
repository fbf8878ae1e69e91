/** The stack of constructs/README.md as somebody without TypeScript writes it. */
export const JAVASCRIPT = `
const { App, AzurermBackend, TerraformStack } = require('cdktf');
const ctrain = require('confidential-training-constructs');

const hub = '/subscriptions/33333333-3333-4333-8333-333333333333/resourceGroups/rg-hub/providers';
const place = { resourceGroupName: 'rg-fraud-prod', location: 'westeurope', tags: { costCentre: '4711' } };
const privateAccess = { subnetId: hub + '/Microsoft.Network/virtualNetworks/vnet-hub/subnets/endpoints', dns: 'azure-policy' };

const app = new App();
const stack = new TerraformStack(app, 'fraud');
ctrain.configureProvider(stack, { subscriptionId: '33333333-3333-4333-8333-333333333333' });
new AzurermBackend(stack, {
  resourceGroupName: 'rg-state',
  storageAccountName: 'stfraudstate',
  containerName: 'tfstate',
  key: 'fraud.tfstate',
  useAzureadAuth: true,
});
const audit = ctrain.AuditLog.fromWorkspaceId(stack, 'Audit', hub + '/Microsoft.OperationalInsights/workspaces/log-hub');
const attestation = new ctrain.AttestationService(stack, 'Attestation', { ...place, privateAccess, audit });
const vault = new ctrain.ReleaseVault(stack, 'Vault', { ...place, privateAccess, audit });
const policy = ctrain.ReleasePolicy.confidentialVm({ attestation });
const key = new ctrain.ReleaseKey(stack, 'Key', { vault, name: 'training-key', policy });
const store = new ctrain.DataStore(stack, 'Store', { ...place, privateAccess, audit, retentionDays: 90 });
const trainer = new ctrain.ConfidentialTrainer(stack, 'Trainer', {
  ...place,
  subnetId: hub + '/Microsoft.Network/virtualNetworks/vnet-hub/subnets/trainers',
  size: 'Standard_DC8as_v5',
  bundle: { sha256: '0'.repeat(64) },
  attestation,
  audit,
});
key.grantRelease(trainer);
store.grantTraining(trainer);
store.grantUpload('44444444-4444-4444-8444-444444444444');
ctrain.deploymentOutput(stack, { vault, key, store, attestation, trainer });

store.node.findChild('Resource').addOverride('access_tier', 'Cool');
ctrain.transformResources(app, ({ type }) => (type === 'azurerm_private_endpoint' ? { 'timeouts.create': '2h' } : undefined));
app.synth();
`;
