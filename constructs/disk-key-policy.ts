import type { ReleasePolicy } from '../runtime/keys/release-policy.ts';

/**
 * Codes of the shared attestation providers (`sharedCODE.CODE.attest.azure.net`), through which Azure's own orchestrator
 * attests a machine before it starts. Source: Azure/confidential-computing-cvm skr-policy.json, 2026-03-04.
 */
const SHARED_PROVIDERS = (
  'ate cac cae cau cau2 cin clc cus cuse den dewc easia eau esc eus eus2 eus2e frc frs ilc itn jinc jinw jpe jpw ' +
  'krc krs mxc mys ncus neu noe now nzn plc san sasia sau saw sbr scus sebr sec ses sin swn sww twn twnw ' +
  'uaec uaen uks ukw wcus weu win wus wus2 wus3'
).split(' ');

/**
 * Release policy of a key that disks of confidential machines are encrypted with. The shared providers are right here,
 * and only here: the platform's orchestrator asks for the key before there is a guest, so it has to be its provider.
 * Like Azure's own default policy but for TDX, which no size of this project has.
 */
export function diskReleasePolicy(): ReleasePolicy {
  return {
    version: '1.0.0',
    anyOf: SHARED_PROVIDERS.map((code) => ({
      authority: `https://shared${code}.${code}.attest.azure.net`,
      allOf: [
        // Top level, unlike in a guest's token.
        { claim: 'x-ms-attestation-type', equals: 'sevsnpvm' },
        { claim: 'x-ms-compliance-status', equals: 'azure-compliant-cvm' },
      ],
    })),
  };
}
