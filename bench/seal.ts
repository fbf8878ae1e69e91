import { createCipheriv, createDecipheriv, randomFillSync } from 'node:crypto';
import { sha256 } from '../runtime/crypto/bytes.ts';
import {
  generateCek,
  NONCE_LENGTH,
  openBytes,
  REGION_LENGTH,
  sealBytes,
  sealedRange,
  TAG_LENGTH,
} from '../runtime/crypto/sealed-object.ts';
import { type Measure, medianTimes } from './measure.ts';

/** 16 MiB: the largest shard that data is cut into. */
const REGIONS = 4;
const SIZE = REGIONS * REGION_LENGTH;
const ROUNDS = 21;
const CIPHER = 'aes-256-gcm';

/**
 * Sealing and opening an object in memory. `seal` and `open` stand against AES-256-GCM alone. The format also asks for a
 * SHA-256 leaf of every region, so `seal-work` and `open-work` stand against both, one after the other: the least that one
 * thread has to do.
 */
export async function benchSeal(): Promise<Measure[]> {
  const plaintext = randomFillSync(new Uint8Array(SIZE));
  const cek = generateCek();
  const { sealed, leaves, root, shape } = await sealBytes(plaintext, cek);
  const sealedRegions = Array.from({ length: REGIONS }, (_, index) => {
    const { offset, length } = sealedRange(shape, index);
    return sealed.subarray(offset, offset + length);
  });

  const times = await medianTimes(
    {
      // One call a region and the output thrown away: as fast as Node's cipher gets.
      encrypt: () => {
        for (const region of sealedRegions) {
          const cipher = createCipheriv(CIPHER, cek, region.subarray(0, NONCE_LENGTH), { authTagLength: TAG_LENGTH });
          cipher.update(region.subarray(NONCE_LENGTH, -TAG_LENGTH));
          cipher.final();
        }
      },
      seal: () => sealBytes(plaintext, cek),
      decrypt: () => {
        for (const region of sealedRegions) {
          const decipher = createDecipheriv(CIPHER, cek, region.subarray(0, NONCE_LENGTH), {
            authTagLength: TAG_LENGTH,
          });
          decipher.setAuthTag(region.subarray(-TAG_LENGTH));
          decipher.update(region.subarray(NONCE_LENGTH, -TAG_LENGTH));
          decipher.final();
        }
      },
      open: () => openBytes(sealed, cek, { leaves, merkleRoot: root, shape }),
      hash: () => {
        for (const region of sealedRegions) sha256(region);
      },
    },
    ROUNDS,
  );

  const { encrypt, seal, decrypt, open, hash } = times;
  return [
    rate('seal', seal, encrypt),
    rate('seal-work', seal, encrypt + hash),
    rate('open', open, decrypt),
    rate('open-work', open, decrypt + hash),
  ];
}

function rate(name: string, milliseconds: number, baselineMilliseconds: number): Measure {
  const [value, baseline] = [megabytes(milliseconds), megabytes(baselineMilliseconds)];
  return { name, value, unit: 'MB/s', baseline, ratio: value / baseline };
}

function megabytes(milliseconds: number): number {
  return SIZE / 1000 / milliseconds;
}
