import { createPublicKey, X509Certificate } from 'node:crypto';
import { Construct } from 'constructs';
import type { AuditTarget } from './audit-log.ts';
import { misuse } from './misuse.ts';
import { nameOf } from './names.ts';
import type { PlacementProps } from './placement.ts';
import { addPrivateAccess, type PrivateAccessOptions } from './private-access.ts';
import { currentSubscriptionId } from './provider.ts';
import { ATTESTATION_REGIONS } from './regions.ts';
import { ResourceLock } from './resource-lock.ts';
import { deployTemplate } from './template.ts';

const TYPE = 'Microsoft.Attestation/attestationProviders';
const API_VERSION = '2021-06-01';

export interface AttestationServiceProps extends PlacementProps {
  /** Where every attestation is recorded. */
  readonly audit: AuditTarget;
  /**
   * The way in.
   * @default - none here: whoever's network needs the provider brings a {@link PrivateAccess} to it
   */
  readonly privateAccess?: PrivateAccessOptions;
  /**
   * Certificates (base64 DER) whose keys sign policies. With them the provider is isolated: nobody changes its policy
   * without such a signature, whatever their role. Fixed at creation.
   * @default - policies are unsigned and whoever has the role may change one; release policies pin its hash all the same
   */
  readonly policySigningCertificates?: readonly string[];
  /**
   * Subscription id, which the provider's resource id contains.
   * @default - the subscription of the stack's provider
   */
  readonly subscriptionId?: string;
  /**
   * Keep the provider from being deleted. Without it no key that names it is ever released again.
   * @default true
   */
  readonly deleteLock?: boolean;
}

/** A provider by what others need of it: one made here, or one that exists. */
export interface AttestationReference {
  /** Issuer of its tokens, exactly as `iss` has it. */
  readonly authority: string;
  readonly providerId: string;
  /** Address of its private endpoint, where it has one here. */
  readonly address: string | undefined;
}

/**
 * The owner's own attestation provider: its tokens are logged, its policy is known, nobody else's machine gets one.
 * Made through a template because azurerm's own resource reads four policies over the data plane on every refresh.
 * Free; an endpoint is billed by the hour. Setting its policy is a data-plane step.
 * @example
 * const attestation = new AttestationService(this, 'Attestation', { ...place, privateAccess, audit });
 */
export class AttestationService extends Construct implements AttestationReference {
  /** Issuer of its tokens, exactly as `iss` has it. Known at synth, because key names depend on it; checked at apply. */
  readonly authority: string;
  readonly providerId: string;
  /** Address of its private endpoint, where it has one here. */
  readonly address: string | undefined;

  constructor(scope: Construct, id: string, props: AttestationServiceProps) {
    super(scope, id);
    const name = nameOf(this, 'attestationProvider', props.name);
    const authority = authorityOf(this, name, props.location);
    const certificates = (props.policySigningCertificates ?? []).map((certificate) => this.#signingKey(certificate));
    const deployment = deployTemplate(this, 'Resource', {
      name,
      resourceGroupName: props.resourceGroupName,
      resource: {
        type: TYPE,
        apiVersion: API_VERSION,
        name,
        location: props.location,
        ...(props.tags === undefined ? {} : { tags: props.tags }),
        properties: {
          publicNetworkAccess: 'Disabled',
          tpmAttestationAuthentication: 'Enabled',
          ...(certificates.length === 0 ? {} : { policySigningCertificates: { keys: certificates } }),
        },
      },
      outputs: { attestUri: 'attestUri' },
      expected: { attestUri: authority },
      ...(props.tags === undefined ? {} : { tags: props.tags }),
    });
    const subscriptionId = props.subscriptionId ?? currentSubscriptionId(this);
    // From the deployment and not from the prop, so that what uses the id waits for the provider.
    const group = `/subscriptions/${subscriptionId}/resourceGroups/${deployment.resourceGroupName}`;
    const providerId = `${group}/providers/${TYPE}/${deployment.name}`;
    props.audit.record(this, 'attestation', providerId);
    this.address = addPrivateAccess(this, 'attestation', providerId, props)?.address;
    if (props.deleteLock ?? true) {
      new ResourceLock(this, 'Lock', {
        resourceId: providerId,
        reason: 'release policies name this provider: without it their keys stay closed',
      });
    }
    this.authority = authority;
    this.providerId = providerId;
  }

  /** A provider that exists. Its region is part of its host name and not of its id, so both are given. */
  static fromProviderId(
    scope: Construct,
    id: string,
    provider: { readonly providerId: string; readonly location: string; readonly address?: string },
  ): AttestationReference {
    const place = new Construct(scope, id);
    const { providerId, location, address } = provider;
    const [, name] = /\/Microsoft\.Attestation\/attestationProviders\/([a-z0-9]{3,24})$/i.exec(providerId) ?? [];
    if (name === undefined) throw misuse(place, 'providerId', 'the resource id of an attestation provider', providerId);
    return { authority: authorityOf(place, name, location), providerId, address };
  }

  /** JWK with its certificate, as the provider wants its signers (RFC 7517, x5c: standard base64). */
  #signingKey(certificate: string): object {
    try {
      const der = Buffer.from(certificate, 'base64');
      const { kty, n, e } = createPublicKey(
        new X509Certificate(der).publicKey.export({ type: 'spki', format: 'pem' }),
      ).export({ format: 'jwk' });
      if (kty !== 'RSA') throw new TypeError(`${kty} key`);
      return { kty, alg: 'RS256', use: 'sig', n, e, x5c: [der.toString('base64')] };
    } catch (cause) {
      const found = `${certificate.slice(0, 16)}… (${cause instanceof Error ? cause.message : String(cause)})`;
      throw misuse(this, 'policySigningCertificates', 'base64 DER of X.509 certificates with RSA keys', found);
    }
  }
}

function authorityOf(scope: Construct, name: string, location: string): string {
  const code = ATTESTATION_REGIONS[location];
  if (code !== undefined) return `https://${name}.${code}.attest.azure.net`;
  const known = Object.keys(ATTESTATION_REGIONS).join(', ');
  throw misuse(scope, 'location', `a region with Azure Attestation (${known})`, location);
}
