import { expect, test } from 'vitest';
import { concat } from '../../../runtime/crypto/bytes.ts';
import { buildPcrSelection } from '../../../runtime/tpm/structures.ts';
import { Tpm } from '../../../runtime/tpm/tpm.ts';
import { frame, sized, u8, u16, u32 } from '../../../runtime/tpm/wire.ts';

// What a right TPM answers is in test/emulator/vtpm/conformance.test.ts; here is what a wrong or busy one may.

/** A TPM that gives these answers, the last one for ever. */
function answering(...answers: Uint8Array[]): { tpm: Tpm; asked: () => number } {
  let asked = 0;
  const transceive = async () => (answers[Math.min(asked++, answers.length - 1)] ?? new Uint8Array()).slice();
  return { tpm: new Tpm({ transceive, close: async () => {} }), asked: () => asked };
}

const retry = frame(0x8001, 0x922);
const randomByte = frame(0x8001, 0, sized(u8(7)));

test('sends a command again while the TPM says "retry", but not for ever', async () => {
  const { tpm, asked } = answering(retry, retry, randomByte);
  expect(await tpm.getRandom(1)).toEqual(Uint8Array.of(7));
  expect(asked()).toBe(3);
  const busy = answering(retry);
  await expect(busy.tpm.getRandom(1)).rejects.toThrow(
    expect.objectContaining({
      code: 'UNAVAILABLE',
      message: 'vTPM refused GetRandom: response code 0x922 (the TPM is busy)',
    }),
  );
  expect(busy.asked()).toBe(21);
});

test.each([
  [
    'an error',
    frame(0x8001, 0x101),
    'ATTESTATION_REJECTED',
    'vTPM refused GetRandom: response code 0x101 (the TPM has failed and wants a reset)',
  ],
  ['an unknown error', frame(0x8001, 0x0ff), 'ATTESTATION_REJECTED', 'vTPM refused GetRandom: response code 0x0ff'],
  ['a warning', frame(0x8001, 0x903), 'UNAVAILABLE', 'vTPM refused GetRandom: response code 0x903'],
  ['a wrong size', concat(randomByte, u8(0)), 'EVIDENCE_MALFORMED', 'response to GetRandom says 13 bytes, has 14'],
  [
    'a wrong tag',
    frame(0x8002, 0, sized(u8(7))),
    'EVIDENCE_MALFORMED',
    'response to GetRandom has tag 32770, wanted 32769',
  ],
  ['too much', frame(0x8001, 0, sized(new Uint8Array(9))), 'EVIDENCE_MALFORMED', 'GetRandom gave 9 bytes, wanted 1'],
  ['nothing', frame(0x8001, 0, sized()), 'EVIDENCE_MALFORMED', 'GetRandom gave 0 bytes, wanted 1'],
  [
    'half a structure',
    frame(0x8001, 0, u16(9)),
    'EVIDENCE_MALFORMED',
    'response to GetRandom is truncated: 9 bytes wanted at offset 2, 0 left',
  ],
  [
    'no bytes',
    new Uint8Array(),
    'EVIDENCE_MALFORMED',
    'response to GetRandom is truncated: 2 bytes wanted at offset 0, 0 left',
  ],
])('reports %s', async (_what, answer, code, message) => {
  await expect(answering(answer).tpm.getRandom(1)).rejects.toThrow(expect.objectContaining({ code, message }));
});

test('reads pcrs again from the start when one moves between two reads', async () => {
  const values = (counter: number, pcr: number, fill: number) =>
    frame(0x8001, 0, u32(counter), buildPcrSelection([pcr]), u32(1), sized(new Uint8Array(32).fill(fill)));
  const { tpm } = answering(values(1, 0, 1), values(2, 1, 2), values(2, 0, 3));
  const read = await tpm.pcrRead([0, 1]);
  expect([...read].map(([pcr, value]) => [pcr, value[0]])).toEqual([
    [0, 3],
    [1, 2],
  ]);
});

test('does not ask for ever for pcrs that it is not given', async () => {
  const none = frame(0x8001, 0, u32(1), buildPcrSelection([]), u32(0));
  await expect(answering(none).tpm.pcrRead([0, 9])).rejects.toThrow(
    'PCR_Read gives none of pcr 0, 9 in the SHA-256 bank',
  );
});

test('refuses a signature of another kind than is ever verified', async () => {
  const body = concat(sized(u8(1)), u16(0x16), u16(0x0b), sized(u8(2)));
  const quote = frame(0x8002, 0, u32(body.length), body, sized(), u8(1), sized());
  await expect(answering(quote).tpm.quote(1, new Uint8Array(), [0])).rejects.toThrow(
    'vTPM signs with algorithm 22 and hash 11, wanted RSASSA (20) and SHA-256 (11)',
  );
});
