/** What benchmark `parse` starts: reads an evidence bundle from standard input, over and over, and prints bytes a parse. */
import { readFileSync } from 'node:fs';
import { parseVcekChain } from '../runtime/attestation/certificates.ts';
import { parseEvidence } from '../runtime/attestation/evidence.ts';
import { parseHclReport } from '../runtime/attestation/hcl-report.ts';
import { parseQuote } from '../runtime/attestation/quote.ts';
import { parseSnpReport } from '../runtime/attestation/snp-report.ts';

const ROUNDS = 200;
const text = readFileSync(0, 'utf8');

for (let i = 0; i < ROUNDS; i++) parse();
global.gc?.();
const before = process.memoryUsage();
for (let i = 0; i < ROUNDS; i++) parse();
const after = process.memoryUsage();
console.log((after.heapUsed + after.external - before.heapUsed - before.external) / ROUNDS);

function parse(): void {
  const { hclReport, vcekChain, quote } = parseEvidence(JSON.parse(text));
  parseSnpReport(parseHclReport(hclReport).snpReport);
  parseVcekChain(vcekChain);
  parseQuote(quote.message);
}
