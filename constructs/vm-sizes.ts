import type { Generation } from '../runtime/catalogue.ts';

const DC_CORES = [2, 4, 8, 16, 32, 48, 64, 96] as const;
const EC_CORES = [2, 4, 8, 16, 20, 32, 48, 64, 96] as const;

/** Sizes that start as SEV-SNP confidential machines. Source: learn.microsoft.com, "DCasv5", "ECasv5", "DCasv6", "ECasv6" series. */
export type ConfidentialVmSize =
  | `Standard_DC${(typeof DC_CORES)[number]}${'as' | 'ads'}_${'v5' | 'v6'}`
  | `Standard_EC${(typeof EC_CORES)[number]}${'as' | 'ads'}_${'v5' | 'v6'}`;

const GENERATION = { v5: 'Milan', v6: 'Genoa' } as const satisfies Readonly<Record<string, Generation>>;

/** CPU generation of a size, or undefined where it is none that this project takes. */
export function generationOf(size: string): Generation | undefined {
  const [, family, cores, version] = /^Standard_([DE]C)(\d+)ad?s_(v5|v6)$/.exec(size) ?? [];
  const known: readonly number[] = family === 'DC' ? DC_CORES : EC_CORES;
  if (version !== 'v5' && version !== 'v6') return undefined;
  return known.includes(Number(cores)) ? GENERATION[version] : undefined;
}

/** The size to take instead of one on Milan, whose firmware weaknesses a newer generation does not share. */
export function genoaSize(size: string): string {
  return size.replace(/_v5$/, '_v6');
}
