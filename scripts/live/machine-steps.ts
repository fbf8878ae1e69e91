import { randomBytes } from 'node:crypto';
import { type EvidenceBundle, type SignedQuote, serialiseEvidence } from '../../runtime/attestation/evidence.ts';
import { parseHclReport } from '../../runtime/attestation/hcl-report.ts';
import { parseSnpReport } from '../../runtime/attestation/snp-report.ts';
import { METADATA_ENDPOINT } from '../../runtime/azure/network.ts';
import { toBase64, toHex } from '../../runtime/crypto/bytes.ts';
import { quotePcrs, readAkCertificate, readAkPublic, readHclReport } from '../../runtime/tpm/azure-vtpm.ts';
import { PCR_COUNT } from '../../runtime/tpm/structures.ts';
import { exchange } from './exchange.ts';
import { found, type Outcome, type Place, type Step } from './step.ts';

const BOOT_PCRS = pcrsTo(7);
const QUOTED_PCRS = pcrsTo(15);

/** What the virtual machine says of itself: nothing of it is secret. */
export const MACHINE_STEPS: readonly Step[] = [
  {
    name: 'hcl-report',
    questions: ['A5'],
    does: 'reads NV index 0x01400001 to the size the TPM states',
    file: 'hcl-report.bin',
    run: readReport,
  },
  {
    name: 'ak-certificate',
    questions: ['A5'],
    does: "reads the attestation key's certificate, NV index 0x01c101d0",
    file: 'ak-certificate.der',
    run: async ({ tpm, findings }) => {
      const content = await readAkCertificate(tpm);
      findings.akCertificate = content;
      return { content, text: `${content.length} bytes` };
    },
  },
  {
    name: 'ak-public',
    questions: ['A5'],
    does: 'reads the public area of the attestation key, handle 0x81000003',
    file: 'ak-public.bin',
    run: async ({ tpm, findings }) => {
      const { publicArea } = await readAkPublic(tpm);
      findings.akPublicArea = publicArea;
      return { content: publicArea };
    },
  },
  {
    name: 'pcrs',
    questions: ['M3'],
    does: 'reads all PCR values of the SHA-256 bank; meaningful right after boot',
    file: 'pcrs.json',
    run: readPcrs,
  },
  {
    name: 'quote-plain',
    questions: ['A2'],
    does: "quotes PCRs 0-7 with empty qualifying data, as Microsoft's client does",
    file: 'quote-plain.json',
    run: async (place) => {
      place.findings.plainQuote = await quotePcrs(place.tpm, new Uint8Array(), BOOT_PCRS);
      return { content: quoteJson(place.findings.plainQuote) };
    },
  },
  {
    name: 'event-log',
    questions: ['M5'],
    does: "copies the kernel's copy of the TCG event log",
    file: 'event-log.bin',
    run: readEventLog,
  },
  {
    name: 'thim-certificates',
    questions: ['A6'],
    does: "asks the metadata service for the chip's certificates and tcbm",
    file: 'thim-certificates.json',
    run: readCertificates,
  },
  {
    name: 'vm-id',
    questions: ['A6'],
    does: 'asks the metadata service for the id of this machine',
    file: 'vm-id.json',
    run: async ({ network }) => {
      const url = `${METADATA_ENDPOINT}/metadata/instance/compute/vmId?api-version=2021-02-01&format=text`;
      const content = await exchange(network, 'vm id', { method: 'GET', url });
      return { content, status: content.answer.status, unsettled: content.answer.status !== 200 };
    },
  },
  {
    name: 'evidence',
    questions: ['A6'],
    does: 'puts report, certificates, event log and a quote of PCRs 0-15 with 32 random bytes into a bundle for ctrain verify-evidence',
    file: 'evidence.json',
    needs: ['hcl-report', 'event-log', 'thim-certificates'],
    run: async (place) => {
      const nonce = randomBytes(32);
      const { eventLog } = place.findings;
      const content: EvidenceBundle = serialiseEvidence({
        hclReport: found(place.findings.report, 'hcl-report').bytes,
        vcekChain: found(place.findings.vcekChain, 'thim-certificates'),
        quote: await quotePcrs(place.tpm, nonce, QUOTED_PCRS),
        ...(eventLog === undefined ? {} : { eventLog }),
        nonce,
      });
      return { content };
    },
  },
];

/** A quote as files keep it: base64, as in an evidence bundle. */
function quoteJson({ message, signature, pcrs }: SignedQuote): EvidenceBundle['quote'] {
  return { message: toBase64(message), signature: toBase64(signature), pcrs };
}

/** 0 to `last`. */
export function pcrsTo(last: number): readonly number[] {
  return Array.from({ length: last + 1 }, (_, pcr) => pcr);
}

async function readReport({ tpm, findings }: Place): Promise<Outcome> {
  const bytes = await readHclReport(tpm);
  try {
    const report = { ...parseHclReport(bytes), bytes };
    findings.report = report;
    const { version } = parseSnpReport(report.snpReport);
    return {
      content: bytes,
      text: `${bytes.length} bytes, header version ${report.headerVersion}, report version ${version}`,
    };
  } catch (error) {
    // A report our parser refuses is the very fixture that is wanted.
    const why = error instanceof Error ? error.message : 'unknown';
    return { content: bytes, text: `${bytes.length} bytes that do not parse: ${why}`, unsettled: true };
  }
}

async function readPcrs({ tpm }: Place): Promise<Outcome> {
  const values = await tpm.pcrRead(pcrsTo(PCR_COUNT - 1));
  const content = Object.fromEntries([...values].map(([pcr, value]) => [String(pcr), toHex(value)]));
  const isZero = values.get(15)?.every((byte) => byte === 0) === true;
  return { content, text: `PCR 15 is ${isZero ? 'zero' : 'not zero'}` };
}

async function readEventLog(place: Place): Promise<Outcome> {
  try {
    const content = await place.readEventLog();
    if (content.length > 0) place.findings.eventLog = content;
    return { content, text: `${content.length} bytes` };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { text: 'there is none' };
    throw error;
  }
}

async function readCertificates({ network, findings }: Place): Promise<Outcome> {
  const url = `${METADATA_ENDPOINT}/metadata/THIM/amd/certification`;
  const content = await exchange(network, 'certificates of this chip', { method: 'GET', url });
  const { status, body } = content.answer;
  if (status !== 200) return { content, status, unsettled: true };
  const { vcekCert, certificateChain } = JSON.parse(body) as Readonly<Record<string, unknown>>;
  findings.vcekChain = `${String(vcekCert).trimEnd()}\n${String(certificateChain).trimEnd()}\n`;
  return { content, status };
}
