import { fromHex, toHex } from '../crypto/bytes.ts';
import {
  type ExpectedObject,
  type NonceScheme,
  REGION_LIMITS,
  type SealedSummary,
  sealedShape,
} from '../crypto/sealed-object.ts';
import { type Check, fileName, hexSha256, integer, oneOf, where } from '../shape.ts';

/** What a signed record says about one sealed object. */
export interface SealedDescription {
  readonly name: string;
  readonly protocol: '2.0';
  /** `big-endian` is ours and Python's; an owner whose SDK is Java's or .NET's has sealed under theirs. */
  readonly nonceScheme: NonceScheme;
  readonly regionLength: number;
  readonly regionCount: number;
  readonly plaintextSize: number;
  readonly ciphertextSize: number;
  /** Hex. */
  readonly merkleRoot: string;
}

/** Names that lie beside sealed objects in a dataset's folder and so cannot be one's. */
const RESERVED = /^(?:manifest\.dsse\.json|keys\.json|dataset\.json)$|\.(?:leaves|encryptiondata\.json)$/i;

/** Members of {@link SealedDescription}, to be spread into a shape; {@link consistentSizes} belongs to it. */
export const sealedMembers: { readonly [K in keyof SealedDescription]: Check<SealedDescription[K]> } = {
  name: where(fileName, (name) => (RESERVED.test(name) ? `${name} is reserved` : undefined)),
  protocol: oneOf('2.0'),
  nonceScheme: oneOf('big-endian', 'java', 'dotnet'),
  regionLength: integer(...REGION_LIMITS),
  regionCount: integer(0),
  plaintextSize: integer(0),
  ciphertextSize: integer(0),
  merkleRoot: hexSha256,
};

/** Sizes are stated, so that a reader can plan, but must follow from one another. */
export function consistentSizes(object: SealedDescription): string | undefined {
  const wanted = sealedShape(object.plaintextSize, object.regionLength);
  if (wanted.regionCount === object.regionCount && wanted.ciphertextSize === object.ciphertextSize) return undefined;
  return `found ${object.regionCount} regions and ${object.ciphertextSize} bytes, wanted ${wanted.regionCount} and ${wanted.ciphertextSize}`;
}

/** Describes what {@link sealBytes} or {@link sealStream} made. */
export function describeSealed(name: string, { root, shape }: SealedSummary): SealedDescription {
  return { name, protocol: '2.0', nonceScheme: 'big-endian', ...shape, merkleRoot: toHex(root) };
}

/** What the reader of an object checks it against. */
export function expectedObject(description: SealedDescription): ExpectedObject {
  const { name, nonceScheme, merkleRoot, plaintextSize, regionLength } = description;
  return { name, nonceScheme, merkleRoot: fromHex(merkleRoot), shape: sealedShape(plaintextSize, regionLength) };
}
