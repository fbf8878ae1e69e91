import { asObject } from '../attestation/jws.ts';
import { SecureTrainingError } from '../errors.ts';
import { METADATA_ENDPOINT, type Network } from './network.ts';
import { parseJson, request } from './request.ts';

const HEADERS = { metadata: 'true' } as const;

/** Id of this virtual machine (a GUID, lower case), to be compared with the one in its evidence. */
export async function readVmId(network: Network, abortSignal?: AbortSignal): Promise<string> {
  const response = await request(network, {
    what: 'id of this virtual machine',
    denied: 'CONFIG_INVALID',
    method: 'GET',
    url: `${METADATA_ENDPOINT}/metadata/instance/compute/vmId?api-version=2021-02-01&format=text`,
    headers: HEADERS,
    ...(abortSignal === undefined ? {} : { abortSignal }),
  });
  const vmId = new TextDecoder().decode(response.body).trim().toLowerCase();
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(vmId)) {
    throw new SecureTrainingError('EVIDENCE_MALFORMED', 'id of this virtual machine: the reply is not a GUID');
  }
  return vmId;
}

/** Certificates of this machine's chip as one PEM text: VCEK, ASK, ARK (Trusted Hardware Identity Management). */
export async function readThimCertificates(network: Network, abortSignal?: AbortSignal): Promise<string> {
  const what = 'certificates of this chip';
  const response = await request(network, {
    what,
    denied: 'CONFIG_INVALID',
    method: 'GET',
    url: `${METADATA_ENDPOINT}/metadata/THIM/amd/certification`,
    headers: HEADERS,
    ...(abortSignal === undefined ? {} : { abortSignal }),
  });
  const { vcekCert, certificateChain } = asObject(parseJson(what, response, 'EVIDENCE_MALFORMED'), what);
  if (typeof vcekCert !== 'string' || typeof certificateChain !== 'string') {
    throw new SecureTrainingError('EVIDENCE_MALFORMED', `${what}: the reply lacks vcekCert or certificateChain`);
  }
  return `${vcekCert.trimEnd()}\n${certificateChain.trimEnd()}\n`;
}
