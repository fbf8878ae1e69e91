import { SecureTrainingError } from '../../runtime/errors.ts';

const UNITS = { m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/**
 * A time, or so long before now (`24h`, `7d`, `90m`), as log rows have theirs.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` naming the option
 */
export function timeOf(value: string | undefined, option: string, now: Date): string | undefined {
  if (value === undefined) return undefined;
  const [, amount, unit] = /^(\d{1,6})([mhd])$/.exec(value) ?? [];
  const ago = UNITS[unit as keyof typeof UNITS] * Number(amount);
  const at =
    amount === undefined
      ? new Date(/^\d{4}-\d\d-\d\d/.test(value) ? value : Number.NaN)
      : new Date(now.getTime() - ago);
  if (!Number.isNaN(at.getTime())) return at.toISOString();
  throw new SecureTrainingError('CONFIG_INVALID', `${option} ${value}: wanted such as 24h, 7d or 2026-01-31T00:00:00Z`);
}
